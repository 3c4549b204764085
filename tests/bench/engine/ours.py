"""Our side: the installed llmctl in an empty LLMCTL_HOME, its hub and engine, and clients on the real socket.

It knows the command line and the wire; every answer is computed (`cache="skip"`), greedy, and as long as asked for.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from llmctl import config, wire
from tests.bench.engine.drive import Prompt, Use
from tests.e2e.dealer import Dealer
from tests.e2e.house import House, house

NAME = "bench"
PATIENCE_S = 300.0


class Talk:
    """One DEALER. `options` are further fields of each request."""

    def __init__(self, dealer: Dealer, options: dict[str, float]) -> None:
        self._dealer = dealer
        self._options = options

    def ask(self, prompt: Prompt, generated: int) -> Use:
        final = self._dealer.ask(self._request(prompt, generated))
        if not isinstance(final, wire.Done) or not isinstance(final.result, wire.Answer):
            raise RuntimeError(f"the hub answered {final}")
        usage = final.result.usage
        return Use(usage.completion_tokens, usage.prompt_tokens - usage.cached_tokens)

    def stream(self, prompt: Prompt, generated: int) -> Generator[None, None, None]:
        request = self._request(prompt, generated)
        request.stream = True
        identity, unread = self._dealer.send(request), 0
        try:
            while not isinstance(reply := self._dealer.receive(identity), wire.FINAL):
                if isinstance(reply, wire.Delta):
                    yield
                    unread += 1
                    if unread == wire.WINDOW // 2:
                        self._dealer.send(wire.Ack(count=unread), identity)
                        unread = 0
            if not isinstance(reply, wire.Done):
                raise RuntimeError(f"the hub answered {reply}")
        finally:
            self._dealer.send(wire.Cancel(), identity)

    def _request(self, prompt: Prompt, generated: int) -> wire.Generate:
        request = wire.Generate(
            model=NAME, max_tokens=generated, temperature=0.0, ignore_eos=True, cache="skip", raw=True
        )
        if isinstance(prompt, str):
            request.prompt = prompt
        else:
            request.tokens = prompt
        for name, value in self._options.items():
            setattr(request, name, value)
        return request


class Ours:
    """Implements drive.Engine."""

    def __init__(self, home: House, options: dict[str, float]) -> None:
        self._home = home
        self._options = options

    def daemons(self) -> list[psutil.Process]:
        """The hub and its engines."""
        return self._home.daemons()

    @property
    def pid(self) -> int:
        """Of the engine's process."""
        return int(self._home.ok("ps", "--json").last["pid"])

    @contextmanager
    def talk(self) -> Iterator[Talk]:
        with Dealer(self._home.socket, timeout=PATIENCE_S) as dealer:
            yield Talk(dealer, self._options)


@contextmanager
def installed(
    model: Path,
    slots: int,
    context: int,
    more: dict[str, str],
    options: dict[str, float] | None = None,
    **variables: str,
) -> Iterator[Ours]:
    """A hub that knows the model and has not loaded it; nothing of it is left behind. `more` are further settings, an empty
    one is left out; `options` fields of each request, `variables` the hub's environment."""
    settings = {"slots": str(slots), "context": str(context), "threads": "2", **more}
    with house(**variables) as home:
        set_ = (f"--set={key}={value}" for key, value in settings.items() if value)
        home.ok("models", "add", NAME, model, *set_)
        home.ok("daemon", "start")
        yield Ours(home, options or {})
        home.stop()


@contextmanager
def ours(
    model: Path,
    slots: int,
    context: int,
    more: dict[str, str],
    options: dict[str, float] | None = None,
    **variables: str,
) -> Iterator[Ours]:
    """Loaded and warm."""
    with installed(model, slots, context, more, options, **variables) as engine, engine.talk() as talk:
        talk.ask([1], 2)
        yield engine


@contextmanager
def at_defaults(model: Path) -> Iterator[Ours]:
    """Loaded with no setting at all."""
    with house() as home:
        home.ok("models", "add", NAME, model)
        home.ok("models", "load", NAME)
        yield Ours(home, {})
        home.stop()


def knows(setting: str) -> bool:
    """Whether a model has a setting of this name: a row about one that does not exist is not measured."""
    return setting in config.ModelSettings.__struct_fields__
