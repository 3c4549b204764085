"""The judge: a model that says whether a stored answer would fully serve a new request, once it has passed an examination.

The examination has twenty pairs with known verdicts. verify.py decides which pairs are put to the judge.
"""

import asyncio
from functools import cache
from importlib.resources import files

import msgspec

from llmctl.config import NO_JUDGE, ModelEntry, Semantic
from llmctl.errors import ContextOverflow, Incomplete, InvalidRequest, LlmctlError, Usage
from llmctl.wire import Answer, Generate
from llmctld.call.call import GaveWay
from llmctld.call.origin import OWN, Purpose, origin_of
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.ticket import ChatMessage
from llmctld.semantic.asker import Asker
from llmctld.semantic.knowledge import Knowledge

SCHEMA = (
    '{"type":"object","properties":{"serves":{"type":"boolean"}},"required":["serves"],"additionalProperties":false}'
)
QUESTION = """\
You compare answers. Below stand a request, an answer that was written for it, and an answer that was written for another \
request. Would the other answer, given instead, fully serve the request? It must say the same in what matters: the same \
facts, numbers, names, conditions and direction; wording and length do not matter.

<request>
{request}
</request>
<answer>
{answer}
</answer>
<other>
{other}
</other>

Reply in JSON: {{"serves": true}} or {{"serves": false}}."""
MOST_WRONG = 4
"""Wrong verdicts of the twenty that a judge may give. With an error rate of 10 % it passes 96 of 100 examinations, by guessing
fewer than one."""
TOKENS = 24
"""Length of a verdict, at most."""
ANSWER_LENGTH = 20_000
"""Characters of a request or an answer, at most: longer ones are not put to the judge."""
KEPT = "judges"
"""The name of the record in the database."""


class Exam(msgspec.Struct, frozen=True):
    """A pair of the examination."""

    request: str
    answer: str
    other: str
    serves: bool


class JudgeRecord(msgspec.Struct):
    """Kept over restarts: which judges passed, by the identity of the model, and the number of questions."""

    passed: dict[str, bool] = {}
    questions: int = 0


class NotAsked(Exception):
    """The question could not be asked: no verdict, and nothing against the judge."""


@cache
def exams() -> list[Exam]:
    text = files("llmctld.semantic").joinpath("exam.json").read_bytes()
    return msgspec.json.decode(text, type=list[Exam])


class Judge:
    """`usable` says at once whether a verdict is possible; `verdict` asks for one."""

    def __init__(self, asker: Asker, catalog: Catalog, knowledge: Knowledge, settings: Semantic) -> None:
        self._asker, self._catalog, self._knowledge, self._settings = asker, catalog, knowledge, settings
        self._record: JudgeRecord | None = None
        self._turn = asyncio.Lock()

    async def state(self) -> tuple[str, int]:
        """For `cache audit`: the judge in words, and the number of questions."""
        record = await self._known() if await self._knowledge.reopen() else JudgeRecord()
        if self._settings.judge == NO_JUDGE:
            return NO_JUDGE, record.questions
        failed = bool(record.passed) and not any(record.passed.values())
        return "not used" if failed else self._settings.judge or "the model that wrote the answer", record.questions

    async def _known(self) -> JudgeRecord:
        if self._record is None:
            self._record = msgspec.json.decode(await self._knowledge.entries.kept(KEPT) or b"{}", type=JudgeRecord)
        return self._record

    def usable(self, writer: ModelEntry) -> bool:
        """Whether there is a judge for the answers of `writer`, and it has not failed its examination."""
        if self._settings.judge == NO_JUDGE:
            return False
        try:
            passed = self._record.passed if self._record else {}
            return passed.get(self._catalog.identity(self._entry(writer)), True)
        except LlmctlError:
            return False

    async def verdict(self, writer: ModelEntry, request: str, answer: str, other: str) -> bool | None:
        """Whether `other` serves as well as `answer`; None without a verdict."""
        if not self.usable(writer) or max(len(request), len(answer), len(other)) > ANSWER_LENGTH:
            return None
        judge = self._entry(writer)
        try:
            if not await self._examined(judge):
                return None
            return await self._ask(judge, request, answer, other)
        except NotAsked:
            return None

    def _entry(self, writer: ModelEntry) -> ModelEntry:
        return self._catalog.choose(self._settings.judge, "text") if self._settings.judge else writer

    async def _examined(self, judge: ModelEntry) -> bool:
        """Whether the judge passed. Each is examined once, also over restarts. Raises NotAsked."""
        identity = self._catalog.identity(judge)
        async with self._turn:
            record = await self._known()
            if identity not in record.passed:
                wrong = 0
                for exam in exams():
                    wrong += await self._ask(judge, exam.request, exam.answer, exam.other) is not exam.serves
                    if wrong > MOST_WRONG:
                        break
                record.passed[identity] = wrong <= MOST_WRONG
                await self._keep(record)
        return record.passed[identity]

    async def _keep(self, record: JudgeRecord) -> None:
        await self._knowledge.entries.keep(KEPT, msgspec.json.encode(record))

    async def _ask(self, judge: ModelEntry, request: str, answer: str, other: str) -> bool | None:
        """The verdict; None if the reply is none. Raises NotAsked."""
        record = await self._known()
        record.questions += 1
        await self._keep(record)
        text = QUESTION.format(request=request, answer=answer, other=other)
        asked = Generate(
            prompt=text, model=judge.name, schema=SCHEMA, temperature=0.0, max_tokens=TOKENS, cache="skip", user=OWN,
            semantic=False,
        )  # fmt: skip
        try:
            reply = await self._asker.generate(
                asked, origin_of(asked, Purpose.JUDGE), messages=[ChatMessage("user", text)], yields=False
            )
        except (Incomplete, InvalidRequest, ContextOverflow, Usage):
            return None
        except (LlmctlError, GaveWay) as error:
            raise NotAsked from error
        verdict = reply.value.get("serves") if isinstance(reply, Answer) and isinstance(reply.value, dict) else None
        return verdict if isinstance(verdict, bool) else None
