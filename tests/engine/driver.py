"""Steps an engine's loop by hand, in this process, and collects the events of each request."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

import msgspec
from llmctld.engine.core.backend import TextModel
from llmctld.engine.core.loop import Inbox, Loop
from llmctld.engine.cost.pace import Pace
from llmctld.engine.cost.price import parse_step_time
from llmctld.engine.messages import (
    ChatMessage,
    Drop,
    Event,
    Finished,
    Load,
    Move,
    Piece,
    Refused,
    Remark,
    Report,
    Step,
    Submit,
)
from llmctld.engine.streams.saved import SavedStates


@dataclass
class Reply:
    """What came for one request; `ends` counts its final events, which must be one."""

    text: str = ""
    reasoning: str = ""
    pieces: int = 0
    ends: int = 0
    finished: Finished | None = None
    refused: Refused | None = None
    remarks: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        assert self.ends == 0, f"{event} came after the end"
        if isinstance(event, Remark):
            self.remarks.append(event.text)
            return
        if isinstance(event, Piece):
            self.text += event.text
            self.reasoning += event.reasoning
            self.pieces += 1
            return
        self.ends += 1
        if isinstance(event, Finished):
            self.finished = event
        else:
            assert isinstance(event, Refused), f"{event} is no end of a text"
            self.refused = event

    @property
    def done(self) -> Finished:
        assert self.finished is not None, f"refused: {self.refused}"
        return self.finished

    @property
    def refusal(self) -> Refused:
        assert self.refused is not None, f"finished: {self.finished}"
        return self.refused


class Driver:
    """`scheduler.check()` runs after every step."""

    def __init__(
        self, model: TextModel, batch: int = 512, saved: SavedStates | None = None, pace: Pace | None = None
    ) -> None:
        self.inbox: Inbox = SimpleQueue()
        self.steps: list[Step] = []
        self.replies: dict[int, Reply] = defaultdict(Reply)
        self.loop = Loop(model, batch, self.inbox, self._hear, saved, pace, parse_step_time(os.environ))
        self._next = 1

    def submit(self, prompt: str | list[tuple[str, str]], **options: Any) -> int:
        """Queue a request: a user's words, or (role, content) pairs. `tokens=` instead of either."""
        pairs = [("user", prompt)] if isinstance(prompt, str) else prompt
        id, self._next = self._next, self._next + 1
        submit = Submit(
            id=id, messages=[ChatMessage(*pair) for pair in pairs], **{"max_tokens": 16, "temperature": 0.0, **options}
        )
        self.inbox.put((monotonic(), submit))
        return id

    def drop(self, id: int) -> None:
        self.inbox.put((monotonic(), Drop(id)))

    def move(self, id: int, user: str, priority: int) -> None:
        self.inbox.put((monotonic(), Move(id, user, priority)))

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.loop.step()
            self.loop.scheduler.check()

    def run(self) -> None:
        """Steps until every request has ended."""
        while not (self.loop.idle and self.inbox.empty()):
            self.step()

    def ask(self, prompt: str | list[tuple[str, str]], **options: Any) -> Reply:
        id = self.submit(prompt, **options)
        self.run()
        return self.replies[id]

    def _hear(self, report: Report) -> None:
        assert isinstance(report, Step)
        self.steps.append(report)
        for event in report.events:
            self.replies[event.id].take(event)


def llama(path: Path, **options: Any) -> Load:
    """On the CPU even if there is a GPU: these tests limit the machine's memory."""
    plain = Load(name=path.stem, backend="llama.cpp", path=str(path), threads=1, memory_bytes=2**30, device="cpu")
    return msgspec.structs.replace(plain, **options)


def echo(**options: Any) -> Load:
    return msgspec.structs.replace(Load(name="echo", backend="echo", path="", threads=1, memory_bytes=0), **options)
