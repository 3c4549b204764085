"""Stage `guide`: what the built-in model may answer; its refusal never reaches a user as an answer.

It knows the guide by its entry in the catalogue and a refusal by its first words; preprocess chooses the model.
"""

import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cached_property
from pathlib import Path

from llmctl.errors import ContextOverflow, LlmctlError, ModelUnavailable
from llmctl.suggestions import best_fit, gigabytes, no_model_hint
from llmctl.wire import Answer, Answers, Delta, Notice
from llmctld.call.call import Call, Event, Stage
from llmctld.call.reuse import several
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.header import DamagedHeader, read_header

REFUSAL = "llmctl.guide.refusal"
"""Key in the file's metadata: the words with which each refusal begins."""
DAY_S = 86400.0
OTHERS = "`llmctl models ls` lists the models that answer other questions."
NOT_TAKEN = {
    "stdin": "stdin", "files": "files", "tokens": "token ids", "raw": "--raw", "params": "parameters", "declared": "a template",
    "schema": "a schema", "grammar": "a grammar", "extract": "-x", "adapters": "adapters",
}  # fmt: skip
"""Field of a request that the guide does not take -> its name in the error."""
LONGEST = 480
"""Characters of a question. Its chat template reads no more; a longer text would be cut without a word."""
CONVERSATION = ("conversation", "continue_last")


class Guide:
    """The link. `told`: a file whose date is that of the last introduction; one is sent per day."""

    def __init__(self, catalog: Catalog, told: Path) -> None:
        self._catalog, self._told = catalog, told
        self._introduced = 0.0

    def __call__(self, next_: Stage) -> Stage:
        """Raises ModelUnavailable for a refusal, and at once for a request that is more than a question."""

        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            is_guide = self._catalog.is_guide(call.entry)
            async with aclosing(self._answer(call, next_) if is_guide else next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    async def _answer(self, call: Call, next_: Stage) -> AsyncGenerator[Event, None]:
        """The events. Text is held back until it differs from a refusal; that of several samples until all have ended."""
        self._check(call)
        held: list[Event] | None = []
        try:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    if held is None or isinstance(event, Notice):
                        yield event
                    elif self._is_answer(call, [*held, event]):
                        told, held = [*self._introduction(call), *held, event], None
                        for each in told:
                            yield each
                    else:
                        held.append(event)
        except ContextOverflow as error:
            raise self._unavailable(call, "the question is too long for the built-in guide") from error
        except LlmctlError as error:
            if held is None:
                raise
            raise error.with_answer(None) from error
        finally:
            if held is not None:  # what ended early shows nothing that may be a refusal; a flight shares the old object
                call.work, call.samples = dataclasses.replace(call.work, text="", reasoning=""), []

    def _check(self, call: Call) -> None:
        """Raises ModelUnavailable unless the request is one question."""
        request = call.request
        more = [word for field, word in NOT_TAKEN.items() if getattr(request, field) not in (None, False, [], {})]
        if not _named(call) and any(getattr(request, field) for field in CONVERSATION):
            more.append("a conversation")
        if [message.role for message in call.messages] not in (["user"], []):
            more.append("a system prompt" if call.system else "earlier messages")
        if more:
            raise self._unavailable(call, f"the built-in guide accepts a question only, without {', '.join(more)}")
        if any(len(message.content) > LONGEST for message in call.messages):
            raise self._unavailable(call, f"the built-in guide reads questions of at most {LONGEST} characters")

    def _is_answer(self, call: Call, events: list[Event]) -> bool:
        """Whether this is an answer; False while it may become a refusal. Raises ModelUnavailable for a refusal."""
        last = events[-1]
        whole = [last] if isinstance(last, Answer) else last.answers if isinstance(last, Answers) else []
        begun = "".join(event.text for event in events if isinstance(event, Delta))
        texts = [text.lstrip() for text in ([answer.text for answer in whole] or [begun])]
        maybe = any(self._refusal.startswith(text) for text in texts)
        if any(text.startswith(self._refusal) for text in texts) or (whole and maybe):
            raise self._unavailable(call, "the built-in guide answers questions about llmctl only")
        return bool(whole) or not (maybe or several(call.request))

    @cached_property
    def _refusal(self) -> str:
        """Raises ModelUnavailable if the file does not name it: an answer could not be told from a refusal."""
        guide = self._catalog.guide
        assert guide is not None
        try:
            words = read_header(Path(guide.target)).get(REFUSAL)
        except (OSError, DamagedHeader) as error:
            raise ModelUnavailable(f"the built-in guide cannot be read: {error}", no_model_hint()) from error
        if not isinstance(words, str) or not words:
            raise ModelUnavailable(f"the built-in guide is damaged: {guide.target} has no {REFUSAL}", no_model_hint())
        return words

    def _unavailable(self, call: Call, reason: str) -> ModelUnavailable:
        if self._catalog.has_text_model:
            return ModelUnavailable(reason, OTHERS)
        return ModelUnavailable(f"no model has been added, and {reason}", no_model_hint())

    def _introduction(self, call: Call) -> list[Notice]:
        """Once a day, where nobody named the guide."""
        now = time.time()
        with contextlib.suppress(OSError):
            self._introduced = self._told.stat().st_mtime
        if _named(call) or abs(now - self._introduced) < DAY_S:
            return []
        self._introduced = now
        with contextlib.suppress(OSError):  # then it is sent once per hub
            self._told.touch()
        return [Notice(text=_introduction())]


def _named(call: Call) -> bool:
    """Whether the guide was asked for, and not chosen for want of a model."""
    return bool(call.request.model or call.request.default_model)


def _introduction() -> str:
    best = best_fit()
    return (
        "guide, a tiny built-in model that knows only llmctl, answers because no model has been added; "
        f"`{best.command}` downloads one for all questions ({gigabytes(best)}), `llmctl models suggest` lists others"
    )
