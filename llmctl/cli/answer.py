"""How an answer appears: deltas as they come, reasoning beside them, and one last line whatever happened.

It knows the two streams and the replies; how a request is made, and what its end means for the exit status, it
does not.
"""

import sys

from llmctl import wire
from llmctl.cli import out, signals
from llmctl.client import Client, remainder, result_of
from llmctl.errors import Unreachable
from llmctl.link import Exchange

CANCEL_S = 10.0
"""How long an interrupted command waits for what had come; whoever will not wait interrupts a second time."""
DIM, PLAIN = "\x1b[2m", "\x1b[22m"


class Shown:
    """What of one answer has been shown. `thinking` None: reasoning goes to stderr when that is a terminal."""

    def __init__(self, thinking: bool | None, extract: bool = False) -> None:
        self.text = ""
        self._thinking = out.is_terminal(sys.stderr) if thinking is None else thinking
        self._hidden = thinking is False
        self._dim = out.has_colour(sys.stderr)
        self.extract = extract
        self._thought = ""
        self.ended = False
        self._later: list[str] = []

    def delta(self, reply: wire.Delta) -> None:
        if reply.reasoning:
            self._think(reply.reasoning)
        if reply.text:
            self._speak(reply.text)

    def notice(self, words: str) -> None:
        """In a terminal it waits for the end of the line that is being written."""
        if self.text and not self.ended and out.is_terminal(sys.stdout):
            self._later.append(words)
        else:
            out.notice(words)

    def _think(self, text: str) -> None:
        if self._thinking and not out.Mode.json:
            self._thought += text
            out.aside(f"{DIM}{text}{PLAIN}" if self._dim else text)

    def _speak(self, text: str) -> None:
        if self._thought and not self.text and not self._thought.endswith("\n"):
            out.aside("\n")
        self.text += text
        if out.Mode.json:
            out.json_line({"delta": text})
        else:
            out.text(text)

    def last(self, answer: wire.Answer) -> None:
        """The rest of the text, and the last line."""
        self.ended = True
        if answer.reasoning and not self._thought:
            self._think(answer.reasoning)
        if self._hidden:
            answer.reasoning = None
        if out.Mode.json:
            self._last_json(answer)
            return
        rest = remainder(answer, self.text)
        end = "" if (self.text + rest).endswith("\n") else "\n"
        self._speak(rest + end)  # one write: lines of commands that run side by side do not mix
        for words in self._later:
            out.notice(words)

    def _last_json(self, answer: wire.Answer) -> None:
        if self.text and (rest := remainder(answer, self.text)):
            self._speak(rest)
        out.json_line(answer)

    def partial(self, answer: wire.Answer | None, request_id: bytes) -> None:
        """What came of an answer that has no end; nothing when its last line was begun."""
        if self.ended:
            return
        if out.Mode.json:
            self._last_json(answer or unfinished(request_id, self.text))
        elif not self.extract and (self.text or (answer and answer.text)):
            self.last(answer or unfinished(request_id, self.text))


def unfinished(request_id: bytes, text: str) -> wire.Answer:
    """The answer of a request whose end was not heard."""
    return wire.Answer(
        id=request_id.hex(),
        text=text,
        finish_reason="cancelled",
        usage=wire.Usage(),
        timings=wire.Timings(),
        cache=wire.CacheUse(),
    )


def remarks(answer: wire.Answer) -> list[str]:
    """What the reader should know about a complete answer."""
    found = []
    if answer.cache.hit in ("memory", "disk"):
        found.append(f"a stored answer, {_ago(answer.cache.age_s or 0.0)} old; --refresh computes anew")
    if answer.finish_reason == "length":
        tokens = answer.usage.completion_tokens
        found.append(
            f"the answer was cut after {tokens} tokens, by --max-tokens or because the model's context is full"
        )
    return found


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def show(client: Client, request: wire.Generate, thinking: bool | None = None) -> wire.Answer:
    """Sends, shows what comes, and returns the answer. Raises what `result_of` raises, once what came was shown."""
    shown = Shown(thinking, request.extract is not None)
    exchange = client.begin(request)
    try:
        return _follow(exchange, shown)
    except signals.Interrupt:
        final = exchange.cancel(CANCEL_S)
        answer = final.result if isinstance(final, wire.Done) else getattr(final, "answer", None)
        shown.partial(answer if isinstance(answer, wire.Answer) else None, exchange.id)
        raise
    except Unreachable:  # the hub went away in the middle: what came still ends like an answer
        shown.partial(None, exchange.id)
        raise
    finally:
        exchange.cancel()


def _follow(exchange: Exchange, shown: Shown) -> wire.Answer:
    for reply in exchange:
        if isinstance(reply, wire.Delta):
            shown.delta(reply)
        elif isinstance(reply, wire.Notice):
            shown.notice(reply.text)
        elif isinstance(reply, wire.Done) and isinstance(reply.result, wire.Answer):
            shown.last(reply.result)
            return reply.result
        elif isinstance(reply, wire.FINAL):
            answer = getattr(reply, "answer", None)
            if isinstance(reply, wire.Cancelled) or ((answer is not None or shown.text) and not shown.extract):
                shown.partial(answer, exchange.id)
            result_of(reply)
    raise AssertionError("an exchange ends with a final reply")
