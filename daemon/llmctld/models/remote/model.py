"""A model behind an HTTP endpoint, with the interface of an engine process: submit a request, receive its events, drop
it.

It uses no memory here and has no process.
"""

import asyncio
import itertools
import re
import time

from llmctl.config import ModelSettings
from llmctl.errors import ContextOverflow, EngineFailed, LlmctlError, ModelUnavailable
from llmctld.engine.cost.rate import Rate
from llmctld.engine.messages import Finished, Load, Loaded, Piece, Refused, Remark, Submit, Texts
from llmctld.models.catalogue.target import REMOTE
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ticket import FailedRequest, Ticket
from llmctld.models.remote import openai
from llmctld.models.remote.answer_reader import AnswerPart, AnswerReader, EmptyAnswer, joined
from llmctld.models.remote.concurrency import PrioritySemaphore
from llmctld.models.remote.embeddings import EmbeddingRequest
from llmctld.models.remote.http.breaker import AttemptFailed, Breaker
from llmctld.models.remote.http.endpoint import NAMES, Endpoint
from llmctld.models.remote.http.keys import find_key
from llmctld.models.remote.http.listing import Listed
from llmctld.models.remote.http.reply import drain
from llmctld.models.remote.http.sse import MOST
from llmctld.models.remote.shorter import Shorter
from llmctld.runtime.log import log

RETRIES, IDLE_S = 3, 300.0
THINKERS = re.compile(r"think|reason|qwq|\br1\b|magistral", re.IGNORECASE)
"""Names of models that reason before each answer. Their text is held back until it is known not to be reasoning."""
LONE = "the first part was reasoning: the endpoint omits the opening tag; the answer is the text after it"
LETTERS = 100
"""Upper limit for the average characters per token; a longer answer ignores `max_tokens`."""
NORMAL = 1
"""Priority of embedding requests, which name none."""


class Remotes:
    """Creates remote models. Keeps one circuit breaker per endpoint, also while no model of it is loaded."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}

    def worker(self, load: Load, settings: ModelSettings) -> "RemoteModel":
        url = load.path.rstrip("/")
        breaker = self._breakers.setdefault(url, Breaker(f"the endpoint {url}"))
        return RemoteModel(load, settings, breaker)


class RemoteRequest:
    """One request in progress: its times and its answer so far."""

    def __init__(self, ticket: Ticket, request: Submit | Texts, who: str) -> None:
        self.ticket, self.request = ticket, request
        self.queued = self.asked = self.first = time.monotonic()
        self.raw = isinstance(request, Submit) and request.raw
        self.reading = AnswerReader(who, self.raw)

    def finished(self, reason: str) -> Finished:
        """The usage so far."""
        reading, now = self.reading, time.monotonic()
        wants = isinstance(self.request, Submit) and self.request.logprobs is not None
        return Finished(
            id=self.request.id, reason=reason, prompt_tokens=reading.prompt_tokens, cached_tokens=reading.cached_tokens,
            completion_tokens=reading.completion_tokens, queue_ms=_ms(self.asked - self.queued),
            prefill_ms=_ms(self.first - self.asked), decode_ms=_ms(now - self.first) if reading.begun else 0.0,
            batched=True, logprobs=reading.logprobs if wants and reading.logprobs else None,
        )  # fmt: skip


class RemoteModel(ModelHandle):
    """`load.path`: the endpoint's address. `busy`: requests in progress."""

    def __init__(self, load: Load, settings: ModelSettings, breaker: Breaker) -> None:
        super().__init__(load.name, REMOTE)
        self._load, self._settings, self._breaker = load, settings, breaker
        self._url = load.path.rstrip("/")
        self._turns = PrioritySemaphore(load.slots)
        self._numbers = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._quirks: list[openai.Quirk] = []
        self._rate = Rate()
        self._model = ""
        self._lone: bool | None = None
        """Whether the last answer had a closing tag without an opening one."""

    async def start(self) -> None:
        """Finds the key and lists the endpoint's models. Raises ModelUnavailable, EngineFailed, Busy."""
        settings = self._settings
        key = await find_key(self.name, self._url, settings.api_key_env)
        retries = RETRIES if settings.retries is None else settings.retries
        self._endpoint = Endpoint(self._url, key, self._breaker, retries, settings.idle_s or IDLE_S)
        await self._endpoint.open()
        try:
            listed = await self._endpoint.models(needed=settings.remote_model is None)
            self._model = settings.remote_model or self._only(listed)
        except BaseException:
            await self._endpoint.close()
            raise
        self.loaded = self._describe(listed)
        if key is not None and key.cut:
            self.loaded.notices.append(f"{key.source} has white space around it, which is left out")
        log.info("an endpoint answers", model=self.name, endpoint=self._url, remote_model=self._model)

    def _only(self, listed: list[Listed]) -> str:
        if len(listed) == 1:
            return listed[0].id
        names = ", ".join(model.id for model in listed[:NAMES]) + (", ..." if len(listed) > NAMES else "")
        message = f"the endpoint {self._url} has {len(listed)} models{': ' * bool(names)}{names}"
        hint = f"Choose one: `llmctl models add {self.name} {self._load.path} --remote-model ID --force`."
        raise ModelUnavailable(message, hint)

    def _describe(self, listed: list[Listed]) -> Loaded:
        found = next((model for model in listed if model.id == self._model), None)
        notices = []
        if listed and found is None:
            names = ", ".join(model.id for model in listed[:NAMES])
            notices.append(f"the endpoint {self._url} does not list the model {self._model}; it lists: {names}")
        context = self._load.context or (found.context if found else 0)
        return Loaded(backend=REMOTE, context=context, slots=self._load.slots, memory_bytes=0, notices=notices)

    @property
    def state(self) -> str:
        """The state shown by `llmctl ps`."""
        return "down" if self._breaker.is_open else super().state

    # ---- requests ---------------------------------------------------------------------------------------------------

    def submit(self, request: Submit | Texts) -> Ticket:
        if self.ended.is_set():
            raise EngineFailed(f"the connections of {self.name} are closed", "Try again.")
        request.id = next(self._numbers)
        run = RemoteRequest(Ticket(self, request.id), request, self._endpoint.name)
        task = self._tasks[request.id] = asyncio.create_task(self._serve(run))
        task.add_done_callback(lambda task: self._ended(run, task))
        return run.ticket

    def _ended(self, run: RemoteRequest, task: "asyncio.Task[None]") -> None:
        """Reports a cancellation. It may come before the task has run a step, so `_serve` cannot do it."""
        request = run.request
        del self._tasks[request.id]
        if task.cancelled():
            refused = Refused(request.id, "cancelled", "cancelled")
            run.ticket.receive(run.finished("cancelled") if isinstance(request, Submit) else refused)
        if not self.busy:
            self._rate.clear()
            self.tokens_per_second = 0.0

    def drop(self, number: int) -> bool:
        """Closes the request's connection. False: it has already ended."""
        task = self._tasks.get(number)
        return task is not None and task.cancel()

    def move(self, number: int, user: str, priority: int) -> None:
        """An endpoint's queue knows priorities, not users."""
        self._turns.move(number, priority)

    async def _serve(self, run: RemoteRequest) -> None:
        """Serves one request; its ticket receives the end in every case, that of a cancelled one from `_ended`."""
        request = run.request
        try:
            async with self._turns.slot(request.priority if isinstance(request, Submit) else NORMAL, request.id):
                self.busy += 1
                run.asked = run.first = time.monotonic()
                try:
                    await (self._generate(run, request) if isinstance(request, Submit) else self._embed(run, request))
                finally:
                    self.busy -= 1
        except LlmctlError as error:
            run.ticket.receive(
                FailedRequest(_in_the_midst(error) if run.reading.begun else error, run.finished("error"))
            )
        except Exception as error:  # noqa: BLE001 - the caller gets the error
            log.exception("a request to an endpoint failed unexpectedly", model=self.name)
            run.ticket.receive(
                FailedRequest(EngineFailed(f"{self.name}: {type(error).__name__}", None), run.finished("error"))
            )

    async def _generate(self, run: RemoteRequest, submit: Submit) -> None:
        settings = self._settings
        question = openai.request_of(submit, self._model, bool(settings.takes_grammar), settings.template_options)
        for quirk in self._quirks:
            quirk.mend(question.body)
        assert self.loaded is not None
        shorter = Shorter(submit, self.loaded.context)
        await self._endpoint.persist(lambda: self._once(run, question, submit, shorter), lambda: run.reading.begun)
        if run.reading.lone:
            self._lone = run.reading.had_lone
        if shortened := shorter.notice(run.reading.prompt_tokens):
            run.ticket.receive(Remark(submit.id, "", shortened))
        if submit.logprobs is not None and not run.reading.logprobs:
            run.ticket.receive(Remark(submit.id, "the endpoint reports no log-probabilities"))
        if run.reading.notice is not None:
            run.ticket.receive(Remark(submit.id, run.reading.notice))
        run.ticket.receive(run.finished(run.reading.finish_reason or "stop"))

    async def _once(self, run: RemoteRequest, question: openai.HttpRequest, submit: Submit, shorter: Shorter) -> None:
        """One attempt. Changes the request after each refusal that names a field the endpoint does not accept."""
        while True:
            try:
                return await self._read(run, question, submit)
            except EmptyAnswer:
                if not openai.disable_streaming(question.body):
                    raise
            except AttemptFailed as trouble:  # a 500 too: some servers answer so to a field that they do not know
                if run.reading.begun or not self._mend(trouble, question.body, shorter):
                    raise

    def _mend(self, trouble: AttemptFailed, body: openai.Body, shorter: Shorter) -> bool:
        """Changes `body` to what the refusal asks for. False: nothing can be changed. Quirks are kept for later requests."""
        error, said = trouble.error, trouble.refusal
        if said is None:
            return False
        if isinstance(error, ContextOverflow):
            if shorter.submit.overflow is not None and shorter.cut(error, said.words):
                openai.set_messages(shorter.submit, body)
                return True
            return openai.lower_max_tokens(said.words, body)
        quirk = openai.quirk_in(said.words, body)
        if quirk is not None:
            self._quirks.append(quirk)
        return quirk is not None

    async def _read(self, run: RemoteRequest, question: openai.HttpRequest, submit: Submit) -> None:
        lone = not run.raw and submit.schema is None and submit.grammar is None
        guess = lone and (self._lone or (self._lone is None and bool(THINKERS.search(self._model))))
        run.reading = reading = AnswerReader(self._endpoint.name, run.raw, self._endpoint.without_key, lone, guess)
        async with self._endpoint.send("POST", question.path, question.body) as reply:
            stream = reply.events()
            async for events in stream:
                before, begun = reading.parts, reading.begun
                pieces: list[AnswerPart] = []
                try:
                    for event in events:
                        pieces.append(reading.feed(event))
                finally:
                    self._tell(run, pieces)  # also what precedes an error
                if reading.begun and not begun:
                    run.first = time.monotonic()
                if reading.parts > before:
                    reply.restart_limit()
                    self._count(reading.parts - before)
                if reading.size > LETTERS * (submit.max_tokens) + MOST:
                    raise AttemptFailed(EngineFailed(f"{self._endpoint.name} sends an endless answer"), again=False)
                if reading.done:
                    break
            self._tell(run, [reading.end()])
            await drain(stream)

    def _tell(self, run: RemoteRequest, pieces: list[AnswerPart]) -> None:
        piece = joined(pieces)
        if piece.moved and not run.reading.guess:
            run.ticket.receive(Remark(run.request.id, LONE))
        if piece.text or piece.reasoning or piece.moved:
            run.ticket.receive(Piece(run.request.id, *piece))

    def _count(self, tokens: int) -> None:
        self._rate.add(time.monotonic(), tokens)
        self.tokens_per_second = self._rate.per_second()

    async def _embed(self, run: RemoteRequest, texts: Texts) -> None:
        assert self.loaded is not None
        embedder = EmbeddingRequest(self._endpoint, self._model, self._load.prompts, self._settings.normalize)
        embedded = await embedder.embed(texts)
        self.loaded.dimension = embedder.dimension
        run.ticket.receive(embedded)

    async def stop(self) -> None:
        """Cancels open requests and closes the connections."""
        self.ended.set()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._endpoint.close()
        log.info("the connections to an endpoint are closed", model=self.name, endpoint=self._url)


def _in_the_midst(error: LlmctlError) -> EngineFailed:
    """The error for an answer that has begun: the request cannot be repeated."""
    return error if isinstance(error, EngineFailed) else EngineFailed(error.message, error.hint)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
