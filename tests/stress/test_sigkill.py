"""The hub and its engines are killed at random points under a mixed load: each request has one outcome, and nothing that was
acknowledged is lost.

The points are counted in replies and drawn from a seed, so that a run can be repeated. The load is sent through one socket: it
shows at once that the hub is gone, where a command looks after a second and a half.
"""

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import psutil
import pytest

from llmctl import wire
from tests.e2e.dealer import Dealer
from tests.e2e.house import Command, House, gone, until, with_signal
from tests.e2e.house import house as a_house
from tests.stress.scale import FULL, count, seeded

KILLS = 1000
UNDER_WAY = 12
"""Requests without a final reply at any time."""
REPLIES = 2.3
"""A kill comes after 1 to 10 ** REPLIES replies, each order of magnitude as often: while engines load, and long after it."""
SAID = 25
"""Kills between two lines about how far a run is."""
COMMANDS = 0.2
"""The share of hubs that a command asks too. It takes a second and a half to notice that its hub is gone."""
CONVERSATIONS, LONGEST = 3, 500
"""Conversations at a time, and requests of all kinds after which others begin: a context must hold them."""
DIED, NOT_LOADED = "engine_failed", "model_unavailable"
"""What a request may say whose engine was killed: while it computed, or while it loaded."""
ROUNDS = 40


@dataclass
class Sent:
    """One request: what kind, its text, what arrived so far, and its final reply."""

    kind: str
    text: str
    streamed: str = ""
    final: wire.AnyReply | None = None


@dataclass
class Load:
    """A mixed load, and what became of each request."""

    dice: random.Random
    flying: dict[bytes, Sent] = field(default_factory=dict)
    ended: dict[bytes, Sent] = field(default_factory=dict)
    abandoned: dict[bytes, Sent] = field(default_factory=dict)
    """Requests whose hub was killed before their final reply."""
    commands: dict[str, bool] = field(default_factory=dict)
    """Question of a command -> whether it was answered."""
    number: int = 0

    def send(self, dealer: Dealer) -> None:
        """One more request of a random kind."""
        self.number += 1
        kind = self.dice.choice(list(KINDS))
        text = f"{kind} {self.number} " + "x" * self.dice.randrange(40)
        self.flying[dealer.send(KINDS[kind](text))] = Sent(kind, text)

    def take(self, identity: bytes, reply: wire.AnyReply) -> None:
        """A reply. A second final reply finds no request."""
        assert identity in self.flying, f"a reply after the final one: {reply}"
        sent = self.flying[identity]
        if isinstance(reply, wire.Delta):
            sent.streamed += reply.text
        elif isinstance(reply, wire.FINAL):
            sent.final = reply
            self.ended[identity] = self.flying.pop(identity)

    def outcomes(self) -> str:
        found = Counter(
            sent.final.code if isinstance(sent.final, wire.Failed) else sent.kind for sent in self.ended.values()
        )
        left = f"{len(self.abandoned)} with their hub, {len(self.commands)} commands"
        return f"{self.number} requests, ended as {dict(found)}, {left}"

    def abandon(self) -> None:
        self.abandoned |= self.flying
        self.flying = {}


def ask(text: str) -> wire.Request:
    return wire.Generate(prompt=text, model="echo", cache="skip")


def stream(text: str) -> wire.Request:
    return wire.Generate(prompt=text, model="echo", cache="skip", stream=True)


def converse(text: str) -> wire.Request:
    number = int(text.split()[1])
    name = f"c{number % CONVERSATIONS}-{number // LONGEST}"
    return wire.Generate(prompt=text, model="echo", cache="skip", conversation=name)


def embed(text: str) -> wire.Request:
    return wire.Embed(texts=[text, "cat"])


def warm(text: str) -> wire.Request:
    return wire.Warm(request=wire.Generate(prompt=text, model="echo"), text=f"the answer to {text}")


KINDS: dict[str, Callable[[str], wire.Request]] = {each.__name__: each for each in (ask, stream, converse, embed, warm)}


def replies(dealer: Dealer, load: Load, most: int) -> None:
    """Takes `most` replies, with the load kept up."""
    for _ in range(most):
        while len(load.flying) < UNDER_WAY:
            load.send(dealer)
        take_one(dealer, load)


def take_one(dealer: Dealer, load: Load) -> None:
    identity, body = dealer.receive_frames()
    reply = wire.decode_reply(body)
    load.take(identity, reply)
    if isinstance(reply, wire.Delta):
        dealer.send(wire.Ack(count=1), identity)


def last_words(dealer: Dealer, load: Load) -> None:
    """What the killed hub had sent: everything has arrived once the connection is closed."""
    dealer.await_hang_up()
    while dealer.has_input():
        take_one(dealer, load)
    load.abandon()


def begin_command(house: House, load: Load) -> Command:
    """A question of a command; what it takes as the end of its hub is tried here too."""
    load.commands[text := f"command {len(load.commands)}"] = False
    return house.spawn("ask", text, "-m", "echo", "--no-cache", "--no-stream", "--no-stdin")


def end_command(command: Command, load: Load) -> None:
    """It has its answer, or says in one line that its hub or engine has ended."""
    text, outcome = f"command {len(load.commands) - 1}", command.end()
    load.commands[text] = outcome.status == 0
    assert outcome.out == (f"{text}\n" if outcome.status == 0 else ""), outcome
    assert outcome.status in (0, 3, 4, 9), outcome
    assert "Traceback" not in outcome.err
    assert "This is a bug" not in outcome.err


def check_outcomes(load: Load) -> None:
    """Each request that ended was answered, or says which engine died."""
    for sent in load.ended.values():
        reply, text = sent.final, sent.text
        if isinstance(reply, wire.Failed):
            assert reply.code in (DIED, NOT_LOADED), (sent, reply)
            partial = "" if reply.answer is None else reply.answer.text
            assert text.startswith(partial), (sent, reply)
            assert partial.startswith(sent.streamed), "what was streamed is part of it"
            continue
        assert isinstance(reply, wire.Done), (sent, reply)
        if isinstance(reply.result, wire.Answer):
            assert reply.result.text.endswith(text), (sent, reply)
            assert sent.streamed in ("", reply.result.text)
        elif sent.kind == "embed":
            assert isinstance(reply.result, wire.Embeddings)
        else:
            assert isinstance(reply.result, wire.Warmed)


def check_history(house: House, load: Load) -> None:
    """A row for each answer that was acknowledged, once; at most one of any other request, and none that still runs."""
    with closing(sqlite3.connect(house.place / "state" / "history.db", timeout=5)) as connection:
        rows = connection.execute("SELECT id, state, text, prompt, conversation, number FROM requests").fetchall()
    assert [row for row in rows if row[1] == "running"] == [], "a request of a killed hub still runs"
    repeated = [each for each, times in Counter(row[0] for row in rows).items() if times > 1]
    assert repeated == [], "a request has two rows"
    found = {row[0]: row for row in rows}
    turns: dict[str, list[str]] = {}
    for identity, sent in load.ended.items():
        if isinstance(sent.final, wire.Done) and isinstance(sent.final.result, wire.Answer):
            row = found.get(identity.hex())
            assert row is not None, f"an acknowledged answer is not in the history: {sent}"
            assert row[1:3] == ("done", sent.final.result.text), (row, sent)
            if row[4] is not None:
                turns.setdefault(row[4], []).append(sent.text)
    answered = Counter(row[3] for row in rows if row[1] == "done")
    for text, acknowledged in load.commands.items():
        assert answered[text] in ((1,) if acknowledged else (0, 1)), (text, acknowledged)
    kept: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row[5]):
        if row[4] is not None and row[1] == "done":
            kept.setdefault(row[4], []).append(row[3])
    for name, texts in turns.items():
        assert Counter(texts) <= Counter(kept[name]), f"conversation {name} has lost a turn"
        assert max(Counter(kept[name]).values()) == 1, f"conversation {name} has a turn twice"


def check_stored(house: House, load: Load) -> None:
    """Every answer that was acknowledged as stored is served from the cache."""
    with Dealer(house.socket) as dealer:
        for sent in load.ended.values():
            if sent.kind == "warm" and isinstance(sent.final, wire.Done):
                reply = dealer.ask(wire.Generate(prompt=sent.text, model="echo", cache="only"))
                assert isinstance(reply, wire.Done), (sent, reply)
                assert isinstance(reply.result, wire.Answer)
                assert reply.result.text == f"the answer to {sent.text}"


def victims(house: House, dice: random.Random) -> list[psutil.Process]:
    """The hub, or one of its engines if there is any."""
    engines = sorted(house.engines(), key=lambda engine: engine.create_time())
    return [house.hub()] if not engines or dice.random() < 0.5 else [dice.choice(engines)]


@pytest.fixture
def house() -> Iterator[House]:
    with a_house(LLMCTL_LIMITS__QUEUE="1000", LLMCTL_CACHE__TTL="30d") as made:
        made.echo(token_ms=1)
        made.ok("embed", "cat")  # its model is made ready once
        yield made


def test_hub_and_engines_killed_under_a_mixed_load_lose_nothing_that_was_acknowledged(house: House) -> None:
    dice = seeded()
    load, kills, killed = Load(dice), KILLS if FULL else count(KILLS // 4), Counter[str]()
    said = 0
    while killed.total() < kills:
        house.ok("daemon", "start")
        hub, command = house.hub(), begin_command(house, load) if dice.random() < COMMANDS else None
        with Dealer(house.socket) as dealer:
            while killed.total() < kills:
                replies(dealer, load, int(10 ** dice.uniform(0, REPLIES)))
                (victim,) = victims(house, dice)
                family = [hub, *house.engines()]
                with_signal(victim, signal.SIGKILL)
                killed["hub" if victim == hub else "engine"] += 1
                if victim == hub:
                    last_words(dealer, load)
                    gone(family)
                    break
            else:
                while load.flying:  # the last kill was an engine's: each request still has its outcome
                    take_one(dealer, load)
        house.ok("daemon", "start")
        if command is not None:
            end_command(command, load)
        check_outcomes(load)
        check_history(house, load)
        if killed.total() // SAID > said:
            said = killed.total() // SAID
            print(f"{dict(killed)}: {load.outcomes()}", flush=True)
    check_stored(house, load)
    print(f"{dict(killed)}: {load.outcomes()}")
    until(lambda: len(house.daemons()) == 1 + len(house.engines()), what="no engine of a hub that was killed")


def test_a_cache_killed_while_writing_is_consistent_after_restart() -> None:
    dice = seeded()
    with a_house() as house:
        house.echo(context=200_000)
        for round_ in range(count(ROUNDS)):
            texts = [f"{round_} {n} {'y' * 50_000}" for n in range(3)]
            asking = [house.spawn("ask", text, "--max-tokens", "60000", "-q") for text in texts]
            for command in asking[: dice.randrange(4)]:
                command.first_byte()
            if house.hub_runs():
                with_signal(house.hub(), signal.SIGKILL)
            for command in asking:
                command.end()
            for text in texts:
                assert house.ok("ask", text, "--max-tokens", "60000", "-q").out == text + "\n"
        levels = {line["level"]: line for line in house.ok("cache", "stats", "--json").lines}
        assert levels["disk"]["state"] == "ok"
        assert levels["disk"]["errors"] == 0
