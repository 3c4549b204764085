"""An endpoint that lies, floods, dawdles or sends elsewhere: each request ends with one reply, and the hub stays.

Answers that are merely wrong are the matter of tests/hub/test_answer_reader_fuzz.py.
"""

import gzip
import json
import random
from collections.abc import Callable
from contextlib import ExitStack

from llmctl import wire
from llmctl.errors import ERRORS, Internal
from tests.attack.attack import Attack, Trial
from tests.attack.bystander import bystander
from tests.attack.odd_frames import mutation, noise
from tests.attack.victim import MIB, memory, memory_stays, victim
from tests.e2e.dealer import Dealer
from tests.faulty_server import Behaviour, Exchange, Server, drip, endless, plain, raw, server, status

TIMEOUT_S = 5.0
"""Of each request: what sends without end, or nothing, must end with it at the latest."""
STREAM = "Content-Type: text/event-stream"
GOOD = b"".join(
    b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}).encode() + b"\n\n"
    for word in ("one", " two", " three")
)  # fmt: skip
BOMB = gzip.compress(bytes(64 * MIB))
KEY = "sk-PLANTED0secret"
TOGETHER = 3
"""Wrong answers in a row: five would make the hub refuse requests for a while, so right ones follow, to the second attempts."""
KNOWN = set(ERRORS) - {Internal.code}

Make = Callable[[random.Random, Server], Behaviour]


async def slow_head(exchange: Exchange) -> None:
    """A header that never ends, a letter at a time."""
    await exchange.write("HTTP/1.1 200 OK\r\nX-Slow: ")
    await drip(then="x")(exchange)


async def long_head(exchange: Exchange) -> None:
    """Headers without end."""
    await exchange.write("HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.write("X-Long: " + "x" * 8000 + "\r\n")


async def long_line(exchange: Exchange) -> None:
    """An event without an end."""
    await exchange.head()
    await exchange.write("data: ")
    while True:
        await exchange.write("x" * 65536)


def deep(dice: random.Random, other: Server) -> Behaviour:
    opening = dice.choice(["[", '{"a":', '{"choices":['])
    return plain(f"data: {opening * dice.choice([100, 100_000])}\n\n")


def odd_numbers(dice: random.Random, other: Server) -> Behaviour:
    number = dice.choice(["NaN", "-Infinity", "1e999", "9" * 400, "-0", "1.5", '"7"', "null", "[]"])
    usage = f'{{"prompt_tokens": {number}, "completion_tokens": {number}}}'
    choice = f'{{"index": {number}, "delta": {{"content": "x"}}, "finish_reason": "stop"}}'
    return plain(f'data: {{"choices": [{choice}], "usage": {usage}}}\n\ndata: [DONE]\n\n')


def mutated(dice: random.Random, other: Server) -> Behaviour:
    return raw(mutation(GOOD + b"data: [DONE]\n\n", dice), STREAM, "Connection: close", size=dice.randrange(1, 200))


def chance(dice: random.Random, other: Server) -> Behaviour:
    body = b"HTTP/1.1 " + noise(dice, 3000) if dice.random() < 0.5 else noise(dice, 3000)

    async def behave(exchange: Exchange) -> None:
        exchange.writer.write(body)

    return behave


def bomb(dice: random.Random, other: Server) -> Behaviour:
    """64 MiB of zeros in 64 KiB."""
    return raw(BOMB, STREAM, "Content-Encoding: gzip", "Connection: close")


def elsewhere(dice: random.Random, other: Server) -> Behaviour:
    """To another server, which must not get the key."""
    return status(dice.choice([301, 302, 303, 307, 308]), Location=f"{other.url}/chat/completions")


def always(behaviour: Behaviour) -> Make:
    return lambda dice, other: behaviour


QUICK: list[Make] = [deep, odd_numbers, mutated, mutated, mutated, chance, chance, bomb, elsewhere]
"""What ends by itself."""
ENDLESS = {
    "an answer": always(endless("x" * 4096)), "a header": always(slow_head), "headers": always(long_head),
    "a line": always(long_line),     "comments": always(drip("begun")),
}  # fmt: skip


def wrong_answers(trial: Trial) -> None:
    """Broken, huge and misleading answers, thousands of them."""
    with ExitStack() as stack:
        endpoint, other, house = (
            stack.enter_context(server()),
            stack.enter_context(server()),
            stack.enter_context(victim(PLANTED_KEY=KEY)),
        )
        house.ok("models", "add", "far", endpoint.url, "--set", "api_key_env=PLANTED_KEY")
        dealer = stack.enter_context(Dealer(house.socket))
        before = memory(house)
        for start in range(0, trial.count, TOGETHER):
            endpoint.script = [
                trial.dice.choice(QUICK)(trial.dice, other) for _ in range(min(TOGETHER, trial.count - start))
            ]
            told(trial, dealer, f"requests from {start} on", len(endpoint.script))
        memory_stays(trial, before, memory(house), 64 * MIB)
        trial.check(not other.asked, f"{len(other.asked)} requests were sent elsewhere")
        trial.measured.append(f"{len(endpoint.asked)} requests arrived")


def endless_answers(trial: Trial) -> None:
    """What never ends, ends with the request's time."""
    with server() as endpoint, victim() as house, bystander(house) as seen:
        house.ok("models", "add", "far", endpoint.url)
        before = memory(house)
        with Dealer(house.socket) as dealer:
            for name, make in list(ENDLESS.items())[: trial.count]:
                endpoint.usual = make(trial.dice, endpoint)
                told(trial, dealer, name, 1)
        memory_stays(trial, before, memory(house), 64 * MIB)
    seen.report(trial)


def told(trial: Trial, dealer: Dealer, what: str, number: int) -> None:
    """Asks so often at once: any end is right but a bug."""
    question = wire.Generate(prompt="why?", model="far", cache="skip", timeout=TIMEOUT_S)
    waiting = {dealer.send(question) for _ in range(number)}
    while waiting:
        identity, body = dealer.receive_frames()
        reply = wire.decode_reply(body)
        if isinstance(reply, wire.FINAL):
            waiting.discard(identity)
            code = reply.code if isinstance(reply, wire.Failed) else None
            trial.check(code is None or code in KNOWN, f"{what}: {reply}")
            trial.check(KEY not in repr(reply), f"{what}: the key is told")


ATTACKS = [
    Attack("wrong answers of an endpoint", 2000, wrong_answers, part=60),
    Attack("endless answers of an endpoint", 5, endless_answers, part=2),
]
