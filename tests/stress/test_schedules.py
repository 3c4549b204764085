"""Random schedules: with any prefix reuse, saving and preemption, each answer is the sequential one, token for token."""

import random
from pathlib import Path

import msgspec
import pytest
from llmctld.engine.cost.pace import Pace
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.saved import SavedStates

from tests.engine.driver import Driver, Reply, llama
from tests.stress.scale import count, seeded
from tests.tiny_gguf import write


class Dear(Pace):
    """Pretends a model a thousand times larger: this one computes a prompt faster than a prefix can be kept."""

    token_ms = 100.0


@pytest.fixture(scope="module", params=["off", "ngram"])
def model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Gguf:
    """Float32 throughout, so that rounding decides nothing: three slots, and two streams that retain; without and with
    speculation, which the one at a time (`repro`) never has."""
    path = Path(tmp_path_factory.mktemp("models")) / "base.gguf"
    write(path)
    given = llama(path, slots=3, retained=2, kv_type="f32", context=512, flash_attention=False)
    return Gguf(msgspec.structs.replace(given, speculation=request.param))


def story(dice: random.Random, length: int) -> str:
    return "".join(dice.choices("etaoin shrdlu", k=length))


def difference(model: Gguf, number: int, prompt: str, options: dict[str, float], got: Reply, expected: str) -> str:
    """What decides whether it is rounding: the two best tokens of the sequential answer where the texts part, and their
    distance. Above about 1e-4, in float32, it is a bug."""
    scored = Driver(model).ask(prompt, repro=True, logprobs=2, **options).done.logprobs or []
    parts = (at for at, (one, other) in enumerate(zip(got.text, expected, strict=False)) if one != other)
    same, text = next(parts, min(len(got.text), len(expected))), ""
    while scored and len(text + scored[0].token) <= same:
        text += scored.pop(0).token
    where = "after the last token of the sequential answer"
    if scored:
        (best, first), (next_, second) = scored[0].top[:2]
        where = f"the sequential answer takes {scored[0].token!r}; best {best!r}, then {next_!r}, apart {first - second:.3g}"
    return (
        f"schedule {number} of this seed differs after {same} characters: {where}\n"
        f"options {options}, prompt {prompt!r}, {got.done}\n  in the schedule {got.text!r}\n  alone {expected!r}"
    )


def test_random_schedules_give_the_same_answers_as_sequential_requests(model: Gguf) -> None:
    """Arrivals, cancels, overlaps and priorities in any order; every answer is the sequential one, and nothing leaks."""
    dice = seeded()
    for number in range(count(500)):
        driver = Driver(model, batch=dice.choice((16, 64, 512)), saved=SavedStates(None, 2**22, 0), pace=Dear())
        families = [story(dice, 250) for _ in range(3)]
        asked: dict[int, tuple[str, dict[str, float]]] = {}
        dropped: set[int] = set()
        for _ in range(dice.randrange(3, 12)):
            prompt = dice.choice(families)[: dice.randrange(1, 250)] + story(dice, dice.randrange(0, 40))
            options: dict[str, float] = {"max_tokens": dice.randrange(1, 40)}
            if dice.random() < 0.3:
                options |= {"temperature": 0.8, "seed": dice.randrange(100)}
            label = {"user": dice.choice("ab"), "priority": dice.randrange(3), "repro": dice.random() < 0.1}
            asked[driver.submit(prompt, **options, **label)] = prompt, options
            for _ in range(dice.randrange(0, 12)):
                if not (driver.loop.scheduler.idle and driver.inbox.empty()):
                    driver.step()
            if dice.random() < 0.2:
                dropped.add(victim := dice.choice(list(asked)))
                driver.drop(victim)
        driver.run()
        for id, (prompt, options) in asked.items():
            expected, got = Driver(model).ask(prompt, repro=True, **options).text, driver.replies[id]
            if id in dropped and got.done.reason == "cancelled":
                assert expected.startswith(got.text)
            elif got.text != expected:
                pytest.fail(difference(model, number, prompt, options, got, expected))
