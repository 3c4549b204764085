"""The hub from Python: `Client().ask("why?").text`. It is synchronous, uses one socket, and turns a Failed reply into an
exception.

It knows what to send and how to wait; it does not know how an answer is shown, and imports no part of the hub.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from llmctl import config as configuration
from llmctl import launch, wire
from llmctl.dealer import NoHub
from llmctl.embedding import REQUESTS_AT_ONCE, Vector, batches, flaw_error, vectors_of
from llmctl.errors import Cancelled, Unreachable, Usage, from_code
from llmctl.link import PATIENCE_S, Exchange, Link
from llmctl.named_files import Origin
from llmctl.options import Asked
from llmctl.paths import Paths, find_paths
from llmctl.request import pack, show_reasoning, user_label

LATE_S = 10.0
"""How long to wait for a silent hub after the request's own time limit."""


class Client:
    """A connection to this user's hub, which starts with the first request. Use it from one thread.

    `user` labels every request (default: `defaults.user`, then the name of the system's user). `on_notice`
    receives notices of the hub and of its start.
    """

    def __init__(
        self,
        user: str | None = None,
        *,
        paths: Paths | None = None,
        config: configuration.Config | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.user = user
        self.paths = paths or find_paths()
        self.config = config or configuration.load(self.paths.config_file)
        self._notify = on_notice or (lambda text: None)
        self._link: Link | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; the hub keeps running. May be called twice."""
        if self._link is not None:
            self._link.close()
            self._link = None

    # ---- questions ----

    def ask(self, prompt: str | None = None, **options: Any) -> wire.Answer:
        """The whole answer. Takes every option of `llmctl ask` that concerns the request, by its long name with
        underscores (`continue_`), and `tokens=[...]`, `ignore_eos=True`, `stdin="..."`. In place of a prompt,
        `messages=[...]` is a whole chat: dicts with `role` and `content`. Raises TypeError for an unknown option, and
        LlmctlError when it fails, with the text generated so far as `.answer`.
        """
        asked = Asked(prompt=prompt, **options)
        show = show_reasoning(asked)
        (answer,) = self._answers(_one(self.pack(asked)), show)
        return answer

    def samples(self, prompt: str | None = None, *, n: int, **options: Any) -> list[wire.Answer]:
        """`n` answers to one question, each with its own seed. Takes the options of `ask`."""
        asked = Asked(prompt=prompt, n=n, **options)
        return self._answers(self.pack(asked), show_reasoning(asked))

    def _answers(self, request: wire.Generate, show: bool | None) -> list[wire.Answer]:
        result = self.call(request)
        if not isinstance(result, wire.Answer | wire.Answers):
            raise from_code("unreachable", f"the hub answered with {type(result).__name__}", "")
        answers = answers_of(result)
        for answer in answers:
            answer.reasoning = None if show is False else answer.reasoning
        return answers

    def stream(self, prompt: str | None = None, **options: Any) -> "Stream":
        """The answer in pieces, as they come. Closing the iterator cancels. Takes the options of `ask`."""
        asked = Asked(prompt=prompt, **options)
        show_reasoning(asked)
        return Stream(self.begin(_one(self.pack(asked, stream=True))), self._notify)

    def embed(self, texts: Sequence[str], **options: str | None) -> list[list[float]]:
        """A vector for each text. Takes the options of `embeddings`. Raises the error of the first bad text."""
        if isinstance(texts, str):
            raise TypeError("embed takes a list of texts, not a single str")
        vectors = []
        for vector in self.embeddings(texts, **options):
            if vector.error is not None:
                raise flaw_error(vector)
            vectors.append(vector.values.tolist())
        return vectors

    def embeddings(
        self, texts: Iterable[str], *, model: str | None = None, prompt: str | None = None, user: str | None = None
    ) -> Iterator[Vector]:
        """The vectors one by one, as they come; a bad text has an error in its place. Closing the iterator cancels.

        `prompt`: the name of one of the model's prompts.
        """
        model, user = model or self.config.defaults.embedding_model, user_label(user or self.user, self.config)
        under_way: deque[tuple[int, wire.Embed, Exchange]] = deque()
        notify = cache(self._notify)  # a notice that each request brings is shown once
        first = 0
        try:
            for batch in batches(texts):
                while under_way and (len(under_way) == REQUESTS_AT_ONCE or not self._is_connected()):
                    yield from self._vectors(*under_way.popleft(), notify)
                request = wire.Embed(texts=batch, model=model, prompt=prompt, user=user)
                under_way.append((first, request, self.begin(request)))
                first += len(batch)
            while under_way:
                yield from self._vectors(*under_way.popleft(), notify)
        finally:
            for _, _, exchange in under_way:
                exchange.cancel()

    def _vectors(
        self, first: int, request: wire.Embed, exchange: Exchange, notify: Callable[[str], None]
    ) -> Iterator[Vector]:
        """Sends the request again if an earlier one found the hub stopping and moved on to the next hub."""
        try:
            result = wait(exchange, notify)
        except Unreachable:
            if exchange.link is self._link:
                raise
            result = wait(self.begin(request), notify)
        return vectors_of(result, first)

    def pack(self, asked: Asked, *, stream: bool = False, origin: Origin | None = None) -> wire.Generate:
        """The request for these options, their template and the defaults. `origin`: the file that the options come from."""
        if asked.user is None:
            asked.user = self.user
        return pack(asked, self.paths, self.config, stream=stream, origin=origin, notify=self._notify)

    # ---- any request ----

    def call(self, request: wire.Request) -> wire.AnyResult:
        """The result of one request. Raises LlmctlError if it fails."""
        return wait(self.begin(request), self._notify)

    def replies(self, request: wire.Request) -> Iterator[wire.AnyReply]:
        """All replies to one request, the final one last. Closing the generator cancels."""
        exchange = self.begin(request)
        try:
            yield from exchange
        finally:
            exchange.cancel()

    def begin(self, request: wire.Request) -> Exchange:
        """Sends a request. If the hub is stopping, starts the next one and sends it once more."""
        limit = request.timeout if isinstance(request, wire.Generate) else None
        patience = PATIENCE_S if limit is None else min(PATIENCE_S, limit + LATE_S)
        return Exchange(self._connected(), request, again=self._reconnected, patience=patience)

    def _connected(self) -> Link:
        if self._link is not None and self._link.owner != os.getpid():
            self._link = None  # a fork: the socket belongs to the parent
        if self._link is not None and self._link.is_current():
            return self._link
        return self._reconnected()

    def _is_connected(self) -> bool:
        return self._link is not None and self._link.is_current()

    def _reconnected(self) -> Link:
        self.close()
        try:
            self._link = self._linked()
        except NoHub:  # it ended just now: the next one is started
            self._link = self._linked()
        return self._link

    def _linked(self) -> Link:
        info = launch.ensure(self.paths, self.config, self._notify)
        if words := configuration.exposed(self.paths.config_file, self.config):
            self._notify(words)
        return Link(self.paths.socket, info.pid)


def wait(exchange: Exchange, notify: Callable[[str], None]) -> wire.AnyResult:
    """The result of a request that was begun. Raises what `result_of` raises; an interrupt cancels the request."""
    try:
        for reply in exchange:
            if isinstance(reply, wire.Notice):
                notify(reply.text)
            elif isinstance(reply, wire.FINAL):
                return result_of(reply)
    finally:
        exchange.cancel()
    raise AssertionError("an exchange ends with a final reply")


def result_of(reply: wire.AnyReply) -> wire.AnyResult:
    """The result in a final reply. Raises the exception for a failure."""
    if isinstance(reply, wire.Done):
        if reply.result == wire.Answers(answers=[]):
            raise Unreachable("the hub answered without an answer")
        return reply.result
    if isinstance(reply, wire.Failed):
        raise from_code(reply.code, reply.message, reply.hint, reply.answer)
    raise Cancelled(
        "the request was cancelled by the hub or another client", answer=getattr(reply, "answer", None), status=143
    )


def answers_of(result: "wire.AnyResult | wire.AnyReply | None") -> list[wire.Answer]:
    """The answers in a result or a final reply: one, several samples, or none."""
    if isinstance(result, wire.Done):
        return answers_of(result.result)
    if isinstance(result, wire.Answer):
        return [result]
    answer = getattr(result, "answer", None)
    found: list[wire.Answer] = getattr(result, "answers", [])
    return found or ([] if answer is None else [answer])


def _one(request: wire.Generate) -> wire.Generate:
    """The request, if it asks for one answer. Raises Usage otherwise."""
    if (request.n or 1) > 1:
        raise Usage(f"n is {request.n}, but this method returns one answer", "`Client.samples` returns several.")
    return request


def unstreamed(answer: wire.Answer | None, streamed: str) -> str:
    """The part of an answer's text that was not streamed yet."""
    if answer is None or not answer.text.startswith(streamed):
        return ""
    return answer.text[len(streamed) :]


class Stream(Iterator[str]):
    """The pieces of an answer. `.answer` is the whole answer once the last piece is read, also after a failure."""

    def __init__(self, exchange: Exchange, notify: Callable[[str], None]) -> None:
        self.answer: wire.Answer | None = None
        self._exchange = exchange
        self._notify = notify
        self._streamed: list[str] = []

    def __next__(self) -> str:
        for reply in self._exchange:
            piece = self._piece(reply)
            if piece:
                self._streamed.append(piece)
                return piece
        raise StopIteration

    def _piece(self, reply: wire.AnyReply) -> str:
        if isinstance(reply, wire.Delta):
            return reply.text
        if isinstance(reply, wire.Notice):
            self._notify(reply.text)
        elif isinstance(reply, wire.FINAL):
            self.answer = getattr(reply, "answer", None)
            result = result_of(reply)
            self.answer = result if isinstance(result, wire.Answer) else None
            return unstreamed(self.answer, "".join(self._streamed))
        return ""

    def close(self) -> None:
        """Cancels the request unless it has ended. May be called twice."""
        self._exchange.cancel()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
