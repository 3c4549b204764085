"""What the tests of learning share: real entries, a real decision and a real judge, and a plain function in the model's place."""

import math
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from llmctld.cache.level import Stored
from llmctld.call.call import Call, Event
from llmctld.inside.background import Background
from llmctld.models.engines.ticket import ChatMessage
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.entries import StoredQuestion, digest, packed
from llmctld.semantic.judge import QUESTION, Exam, Judge, exams
from llmctld.semantic.knowledge import Knowledge
from llmctld.semantic.verify import Verifier

from llmctl.config import Semantic
from llmctl.wire import Answer, Timings, TokenUsage
from tests.hub.scene import a_call, a_catalog, a_residency, a_stored, some_tiers

DIMENSION = 8
WALL = "w"
CLOSE = Pair(0.97, 0.4, 1, 0.97, 500, False, 0, 0)
SERVED = Decision(serve=True, error=0.01, verify=True, judge=True)
COMPUTED = Decision(serve=False, error=0.2, judge=True)


def vector(angle: float) -> bytes:
    return struct.pack(f"<{DIMENSION}f", math.cos(angle), math.sin(angle), *([0.0] * (DIMENSION - 2)))


def stored(text: str) -> Stored:
    return a_stored(text, "e", 1_700_000_000.0)


def truthful(exam: Exam) -> object:
    return {"serves": exam.serves}


def failing(exam: Exam) -> object:
    return {"serves": not exam.serves}


class Model:
    """Says what `replies` makes of a pair of the examination, and `usual` to any other question; either may be an exception.

    To what is no question to a judge it says `text`.
    """

    def __init__(
        self, replies: Callable[[Exam], object] = truthful, usual: object = None, text: str = "computed"
    ) -> None:
        self.replies, self.usual, self.text = replies, usual, text
        self.asked: list[Call] = []
        self._exams = {QUESTION.format(request=one.request, answer=one.answer, other=one.other): one for one in exams()}

    async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
        self.asked.append(call)
        answer: Answer = call.answer(self.text, None, "stop", TokenUsage(), Timings())
        if call.request.schema is not None:
            exam = self._exams.get(call.messages[-1].content)
            said = self.replies(exam) if exam is not None else self.usual
            if isinstance(said, Exception):
                raise said
            answer.value = said
        yield answer


class Learning:
    """Everything that learns, over one folder; the hub is idle, and its models are not loaded."""

    def __init__(self, folder: Path, model: Model, settings: Semantic) -> None:
        folder.mkdir(exist_ok=True)
        self.model = model
        self.catalog = (
            a_catalog(folder) if (folder / "models").exists() else a_catalog(folder, e={}, f={"context": "64"})
        )
        self.tiers = some_tiers()
        self.background = Background()
        self.background.pipeline = model
        self.knowledge = Knowledge(folder / "semantic", self.catalog, self.tiers, settings)
        self.judge = Judge(self.background, self.catalog, self.knowledge, settings)
        self.residency = a_residency(self.catalog, folder)
        self.verifier = Verifier(self.background, self.residency, self.knowledge, self.judge)
        self.writer = self.catalog.find("e")

    async def entry(self, key: str, angle: float = 0.0) -> StoredQuestion:
        """A question whose answer is stored under `key`."""
        await self.knowledge.entries.add(key, WALL, f"question {key}", digest(key), vector(angle))
        found = await self.knowledge.entries.of(key)
        assert found is not None
        return found

    async def served(self, request: str, entry: StoredQuestion, decision: Decision = SERVED) -> None:
        """A hit of `entry`."""
        await self.knowledge.entries.serve(request, entry, CLOSE.similarity, packed((CLOSE, decision)))

    async def verdicts(self, key: str) -> list[str | None]:
        return [one.verdict for one in await self.knowledge.entries.served(key)]

    def call(self, prompt: str = "question new") -> Call:
        """A request that was just answered."""
        call = a_call(prompt=prompt, model="e")
        call.model, call.key = self.writer, "new"
        call.messages = [ChatMessage("user", prompt)]
        return call


@asynccontextmanager
async def learning(
    folder: Path,
    model: Model | None = None,
    settings: Semantic = Semantic(),  # noqa: B008
    opens: str | None = "e",
) -> AsyncIterator[Learning]:
    """`opens`: the embedding model whose entries are opened."""
    made = Learning(folder, model or Model(), settings)
    if opens is not None:
        await made.knowledge.open(opens, DIMENSION)
    try:
        yield made
    finally:
        await made.background.close()
        await made.verifier.close()
        await made.residency.close()
        await made.knowledge.close()
        await made.tiers.close()
