"""Printing an answer: text as it arrives, reasoning on stderr, and with --json one last line whatever happened.

It knows the two streams and the hub's replies, not how a request is built or which exit status follows.
"""

import sys

from llmctl import wire
from llmctl.cli.console import out, signals
from llmctl.client import Client, answers_of, result_of, unstreamed
from llmctl.errors import Unreachable, counted
from llmctl.link import Exchange

CANCEL_S = 10.0
"""How long an interrupted command waits for the hub's last reply; a second interrupt ends the wait."""
DIM, PLAIN = "\x1b[2m", "\x1b[22m"


class Shown:
    """One answer, and how much of it has been printed.

    `thinking`: whether reasoning is printed; None: if stderr is a terminal. `index` is its number among several samples, None for
    a single one.
    """

    def __init__(self, thinking: bool | None, extract: bool = False, index: int | None = None) -> None:
        self.text = ""
        self.index = index
        self._thinking = out.is_terminal(sys.stderr) if thinking is None else thinking
        self._hidden = thinking is False
        self._dim = out.has_colour(sys.stderr)
        self.extract = extract
        self._thought = ""
        self.ended = False
        self._later: list[str] = []
        self._spoken, self._mused = out.shower(sys.stdout), out.shower(sys.stderr)

    def delta(self, reply: wire.Delta) -> None:
        if reply.reasoning:
            self._think(reply.reasoning)
        if reply.text:
            self._speak(reply.text)

    def notice(self, words: str) -> None:
        """Prints a notice, after the answer if it would appear in the middle of it."""
        if self.text and not self.ended and not out.Mode.json and out.same_destination():
            self._later.append(words)
        else:
            out.notice(words)

    def _think(self, text: str) -> None:
        if self._thinking and not out.Mode.json:
            self._thought += text
            words = self._mused(text)
            out.aside(f"{DIM}{words}{PLAIN}" if self._dim else words)

    def _speak(self, text: str) -> None:
        if self._thought and not self.text and not self._thought.endswith("\n"):
            out.aside("\n")
        self.text += text
        if out.Mode.json:
            out.json_line({"delta": text} if self.index is None else {"delta": text, "index": self.index})
        else:
            out.text(self._spoken(text), styled=True)

    def last(self, answer: wire.Answer) -> None:
        """Prints the rest of the text, and the last line."""
        if self.ended and not out.Mode.json:
            return
        self.ended = True
        if answer.reasoning and not self._thought:
            self._think(answer.reasoning)
        if self._hidden:
            answer.reasoning = None
        if out.Mode.json:
            self._last_json(answer)
            return
        self.close(unstreamed(answer, self.text))

    def close(self, rest: str = "") -> None:
        """In plain output: prints the rest of the text, a final newline and the delayed notices."""
        self.ended = True
        end = "" if (self.text + rest).endswith("\n") else "\n"
        self._speak(rest + end)  # one write: lines of commands that run side by side do not mix
        for words in self._later:
            out.notice(words)
        self._later = []

    def _last_json(self, answer: wire.Answer) -> None:
        if self.text and (rest := unstreamed(answer, self.text)):
            self._speak(rest)
        out.json_line(answer)

    def partial(self, answer: wire.Answer | None, request_id: bytes) -> None:
        """Prints what arrived of an unfinished answer; nothing if its last line has been printed."""
        if self.ended:
            return
        if out.Mode.json:
            self._last_json(answer or unfinished(request_id, self.text))
        elif not self.extract and (self.text or (answer and answer.text)):
            self.last(answer or unfinished(request_id, self.text))


class Page:
    """The answers to one request in order: separated by a line `---`, or with --json one last line each."""

    def __init__(self, request: wire.Generate, thinking: bool | None) -> None:
        self._number = request.n or 1
        self._several = self._number > 1
        self._thinking, self.extract = thinking, request.extract is not None
        self._shown: list[Shown] = []
        self._shown.append(self._new())

    @property
    def now(self) -> Shown:
        """The answer that is being printed."""
        return self._shown[-1]

    def at(self, index: int) -> Shown:
        """The answer with this index; begins it, and closes the one before it, if needed. Raises Unreachable if it was not
        asked for."""
        if not 0 <= index < self._number:
            raise Unreachable(
                f"the hub sent an answer number {index}; {counted(self._number, 'answer')} were asked for"
            )
        while len(self._shown) <= index:
            if not out.Mode.json:
                self.now.close()
                out.line("---")
            self._shown.append(self._new())
        return self._shown[index]

    def last(self, answers: list[wire.Answer]) -> None:
        for answer in answers:
            self.at(answer.index).last(answer)

    def partial(self, answers: list[wire.Answer], request_id: bytes) -> None:
        """Prints what arrived of answers of which at least one is unfinished."""
        if not answers:
            self.now.partial(None, request_id)
        for answer in answers:
            if out.Mode.json or answer.text or answer.index < len(self._shown):
                self.at(answer.index).partial(answer, request_id)

    def _new(self) -> Shown:
        return Shown(self._thinking, self.extract, len(self._shown) if self._several else None)


def unfinished(request_id: bytes, text: str) -> wire.Answer:
    """The answer to a request whose final reply never came."""
    return wire.Answer(
        id=request_id.hex(),
        text=text,
        finish_reason="cancelled",
        usage=wire.TokenUsage(),
        timings=wire.Timings(),
        cache=wire.CacheUse(),
    )


def remarks(*answers: wire.Answer) -> list[str]:
    """Notices about complete answers."""
    found = []
    cache = answers[0].cache
    if cache.hit in ("memory", "disk", "shared"):
        found.append(f"from the cache, {_ago(cache.age_s or 0.0)} old; --refresh computes a new answer")
    if cache.hit == "semantic":
        found.append(
            f"from the cache, the answer to a similar question (similarity {cache.similarity or 0:.3f}), "
            f"{_ago(cache.age_s or 0.0)} old; --refresh computes a new answer, `llmctl cache undo` rejects this one"
        )
    cut = [answer for answer in answers if answer.finish_reason == "length"]
    if cut:
        tokens = cut[0].usage.completion_tokens
        found.append(
            f"the answer was cut after {counted(tokens, 'token')}, by --max-tokens or because the model's context is full"
        )
    return found


def explained(answer: wire.Answer) -> list[str]:
    """The lines of `--explain`."""
    return [f"{found.stage:<10} {_measured(found)}{found.text}" for found in answer.explain or ()]


def _measured(found: wire.Explained) -> str:
    if found.similarity is None:
        return ""
    return f"{found.similarity:.3f} {f'refused by {found.refused}: ' if found.refused else ''}"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def show(client: Client, request: wire.Generate, thinking: bool | None = None) -> list[wire.Answer]:
    """Sends the request, prints the answer as it arrives, and returns it, or all samples.

    Raises what `result_of` raises, after printing what arrived.
    """
    page = Page(request, thinking)
    exchange = client.begin(request)
    try:
        return _follow(exchange, page)
    except signals.Interrupt:
        page.partial(answers_of(exchange.cancel(CANCEL_S)), exchange.id)
        raise
    except Unreachable:  # the connection broke: end what was printed like an answer
        page.partial([], exchange.id)
        raise
    finally:
        exchange.cancel()


def _follow(exchange: Exchange, page: Page) -> list[wire.Answer]:
    for reply in exchange:
        if isinstance(reply, wire.Delta):
            page.at(reply.index).delta(reply)
        elif isinstance(reply, wire.Notice):
            page.now.notice(reply.text)
        elif isinstance(reply, wire.Done):
            if not (answers := answers_of(result_of(reply))):
                raise Unreachable(f"the hub answered with {type(reply.result).__name__}, not with an answer")
            page.last(answers)
            return answers
        elif isinstance(reply, wire.FINAL):
            answers = answers_of(reply)
            if isinstance(reply, wire.Cancelled) or ((answers or page.now.text) and not page.extract):
                page.partial(answers, exchange.id)
            result_of(reply)
    raise AssertionError("an exchange ends with a final reply")
