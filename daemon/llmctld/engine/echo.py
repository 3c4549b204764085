"""The echo model, for tests and dry runs: answers with the last user message, one token per character.

It computes nothing and needs no file. Its settings define delays and failures.
"""

import os
import time
from dataclasses import dataclass, field

from llmctld.engine.core.backend import WithoutReuse
from llmctld.engine.errors import LoadError, Refusal
from llmctld.engine.fit import mebibytes
from llmctld.engine.messages import Load, Loaded, Scored, Submit
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.template import refuse_unused_thinking
from llmctld.engine.streams.checkpoints import Window
from llmctld.engine.streams.sequence import Chunk

CONTEXT = 8192
END = 0x110000
"""The end token: one past the last code point."""
SLICE_S = 0.01
"""Longest sleep in one step, so that a cancel does not wait for a delay."""
FAILS = ("load", "error", "crash")


@dataclass
class EchoAnswer:
    """Remaining text, and the earliest time to continue (seconds of the monotonic clock; None: before the first step)."""

    codes: list[int]
    repeat: bool
    said: int = 0
    ready_at: float | None = None
    logprobs: int | None = None
    scored: list[Scored] = field(default_factory=list)

    def next(self) -> int:
        at, self.said = self.said, self.said + 1
        if self.repeat and self.codes:
            return self.codes[at % len(self.codes)]
        return self.codes[at] if at < len(self.codes) else END


class Echo(WithoutReuse):
    """Implements backend.TextModel."""

    def __init__(self, load: Load) -> None:
        if load.fail == "load":
            raise LoadError(f"{load.name} is set to fail when it is loaded", "Unset its `fail` setting.")
        if load.fail is not None and load.fail not in FAILS:
            raise LoadError(f"{load.name}: `fail` is {load.fail!r}, but must be one of {', '.join(FAILS)}")
        time.sleep(load.load_ms / 1e3)
        if load.takes_bytes > load.memory_bytes:
            takes, left = mebibytes(load.takes_bytes), mebibytes(load.memory_bytes)
            raise LoadError(f"{load.name} is set to take {takes}, but only {left} are free", "Unload another model.")
        self.reuses, self.drafts, self.mixes = False, False, True
        self.window = Window()
        self.streams, self.stream_bytes, self.draft_model = load.slots, 0, None
        self._load = load
        self._answers: dict[int, EchoAnswer] = {}
        self._sampled = 0
        context = load.context or CONTEXT
        self.loaded = Loaded(
            backend="echo", context=context, slots=load.slots, memory_bytes=load.takes_bytes, base=False
        )

    def encode(self, submit: Submit) -> Prompt:
        if self._load.fail == "error":
            name = self._load.name
            raise Refusal("engine_failed", f"{name} is set to fail each request", "Unset its `fail` setting.")
        refuse_unused_thinking(submit)
        if submit.tokens is not None:
            return Prompt([_code_point(token) for token in submit.tokens])
        return Prompt([ord(character) for message in submit.messages for character in message.content])

    def open(self, submit: Submit, prompt: Prompt) -> None:
        held = submit.schema is not None or submit.grammar is not None
        codes = _smallest(submit) if held else _last_question(submit) if submit.tokens is None else submit.tokens
        self._answers[submit.id] = EchoAnswer(codes, submit.ignore_eos and not held, logprobs=submit.logprobs)

    def close(self, id: int) -> list[Scored] | None:
        answer = self._answers.pop(id, None)
        return answer.scored if answer is not None and answer.logprobs is not None else None

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        now = time.monotonic()
        answers = [self._answers[chunk.sequence.id] for chunk in chunks]
        for answer in answers:
            if answer.ready_at is None:
                answer.ready_at = now + self._load.first_ms / 1e3
        wait = min(answer.ready_at or now for answer in answers) - now
        if wait > 0:
            time.sleep(min(wait, SLICE_S))
        return [self._sample(chunk, answer) for chunk, answer in zip(chunks, answers, strict=True)]

    def _sample(self, chunk: Chunk, answer: EchoAnswer) -> list[int]:
        now = time.monotonic()
        if not chunk.samples or now < (answer.ready_at or now):
            return []
        self._sampled += 1
        if self._load.fail == "crash" and self._sampled == 3:
            os._exit(134)
        answer.ready_at = now + self._load.token_ms / 1e3
        token = answer.next()
        if answer.logprobs is not None:
            shown = "" if token == END else chr(token)
            answer.scored.append(
                Scored(shown, 0.0, [(shown, 0.0)] if answer.logprobs else [])
            )  # every token has probability 1
        return [token]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()

    def is_end(self, token: int) -> bool:
        return token == END


def _last_question(submit: Submit) -> list[int]:
    questions = [message.content for message in submit.messages if message.role == "user"]
    return [ord(character) for character in questions[-1]] if questions else []


def _smallest(submit: Submit) -> list[int]:
    from llmctld.engine.forms.grammar import (
        of_bytes,
        smallest,
    )  # imported on first use: few tests need it

    return [ord(character) for character in smallest(of_bytes(), submit.schema, submit.grammar)]


def _code_point(token: int) -> int:
    if not 0 <= token < END or 0xD800 <= token < 0xE000:
        raise Refusal("invalid_request", f"token {token} is not a character: echo's tokens are Unicode code points")
    return token
