"""The judge: a model that says whether a stored answer would fully serve a new request, after it has passed an examination.

It knows one question and twenty pairs whose verdict is known; which pairs are worth a question is decided elsewhere.
"""

import asyncio
from functools import cache
from importlib.resources import files

import msgspec

from llmctl.config import NO_JUDGE, ModelEntry, Semantic
from llmctl.errors import ContextOverflow, Incomplete, InvalidRequest, LlmctlError, Usage
from llmctl.wire import Answer, Generate
from llmctld.call.call import OWN, GaveWay
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.worker import ChatMessage
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
"""Of the twenty: who errs in every tenth passes in 96 of 100 cases, who guesses in less than one."""
TOKENS = 24
LONGEST = 20_000
"""Characters of an answer: a judge that reads no more than a part of it judges nothing."""
KEPT = "judges"


class Exam(msgspec.Struct, frozen=True):
    """A pair of the examination."""

    request: str
    answer: str
    other: str
    serves: bool


class JudgeRecord(msgspec.Struct):
    """Over restarts: which judges passed, by identity, and how many questions were asked."""

    passed: dict[str, bool] = {}
    questions: int = 0


class NotAsked(Exception):
    """The question could not be put: that says nothing about the judge."""


@cache
def exams() -> list[Exam]:
    text = files("llmctld.semantic").joinpath("exam.json").read_bytes()
    return msgspec.json.decode(text, type=list[Exam])


class Judge:
    """`usable` says at once whether asking may lead to anything; `verdict` asks."""

    def __init__(self, asker: Asker, catalog: Catalog, knowledge: Knowledge, settings: Semantic) -> None:
        self._asker, self._catalog, self._knowledge, self._settings = asker, catalog, knowledge, settings
        self._record: JudgeRecord | None = None
        self._turn = asyncio.Lock()

    async def state(self) -> tuple[str, int]:
        """For `cache audit`: the judge, or that none is asked; and how many questions were put."""
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
        """Not one that has failed its examination."""
        if self._settings.judge == NO_JUDGE:
            return False
        try:
            passed = self._record.passed if self._record else {}
            return passed.get(self._catalog.identity(self._entry(writer)), True)
        except LlmctlError:
            return False

    async def verdict(self, writer: ModelEntry, request: str, answer: str, other: str) -> bool | None:
        """Whether `other` serves as well as `answer`; None: it could not be asked, or said nothing."""
        if not self.usable(writer) or max(len(request), len(answer), len(other)) > LONGEST:
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
        """Whether it passed; examined once, also over restarts. Raises NotAsked."""
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
        """None: it said nothing that can be read. Raises NotAsked."""
        record = await self._known()
        record.questions += 1
        await self._keep(record)
        text = QUESTION.format(request=request, answer=answer, other=other)
        asked = Generate(
            prompt=text, model=judge.name, schema=SCHEMA, temperature=0.0, max_tokens=TOKENS, cache="skip", user=OWN,
            semantic=False,
        )  # fmt: skip
        try:
            reply = await self._asker.generate(asked, messages=[ChatMessage("user", text)], yields=False)
        except (Incomplete, InvalidRequest, ContextOverflow, Usage):
            return None
        except (LlmctlError, GaveWay) as error:
            raise NotAsked from error
        verdict = reply.value.get("serves") if isinstance(reply, Answer) and isinstance(reply.value, dict) else None
        return verdict if isinstance(verdict, bool) else None
