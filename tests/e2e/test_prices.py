"""What an answer costs: tokens, machine time and energy; what a hit saves; where prices come from."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, house

CONFIG = """
[money]
currency = "EUR"
machine_per_hour = 3.6

[models.both]
machine_per_hour = 7.2
overhead = 0.5
overhead_on = "all"

[models.remote]
price_in = 0.1
price_out = 0.2
"""


def configured(home: House, text: str) -> None:
    home.place.mkdir(mode=0o700)
    (home.place / "config.toml").write_text(text)


PER_MS = Decimal("0.000001")
"""3.6 an hour, for each millisecond."""


@pytest.fixture(scope="module")
def priced() -> Iterator[House]:
    """A home with prices for machine time, and models with and without token prices."""
    with house() as home:
        configured(home, CONFIG)
        home.echo("local")
        home.ok("models", "add", "tokens", "echo", "--price-in", "1", "--price-cached", "0.5", "--price-out", "2")
        home.ok("models", "add", "both", "echo", "--price-in", "1", "--price-out", "2")
        yield home


def ask(home: House, *arguments: str) -> dict[str, Any]:
    answer = home.ok("ask", *arguments, "--json", "--no-stream").last
    answer["cost"] = exact(answer["cost"])
    return answer


def computed_ms(answer: dict[str, Any]) -> Decimal:
    """Milliseconds of machine time, to the microsecond."""
    return round(Decimal(str(answer["timings"]["prefill_ms"] + answer["timings"]["decode_ms"])), 3)


def exact(value: Any) -> Any:
    """The numbers as they were printed: twelve places survive a float of this size."""
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    return round(Decimal(str(value)), 12) if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_token_prices_replace_machine_time_and_a_hit_says_what_it_saved(priced: House) -> None:
    first = ask(priced, "one two three", "-m", "tokens")
    usage = first["usage"]
    tokens = (Decimal(usage["prompt_tokens"]) + 2 * Decimal(usage["completion_tokens"])) / 10**6
    assert usage["cached_tokens"] == 0
    assert first["cost"].pop("reserved") >= tokens
    assert first["cost"] == {
        "amount": tokens, "currency": "EUR", "priced": True, "parts": {"tokens": tokens, "machine": 0, "overhead": 0},
        "saved": None,
    }  # fmt: skip
    hit = ask(priced, "one two three", "-m", "tokens")
    assert hit["cache"]["hit"] == "memory"
    assert (hit["cost"]["amount"], hit["cost"]["saved"], hit["cost"]["priced"]) == (0, tokens, True)
    stats = priced.ok("cache", "stats", "--json").last
    assert round(Decimal(str(stats["saved_cost"])), 12) == tokens


def test_machine_time_is_priced_by_the_measured_milliseconds_with_a_tenth_of_overhead(priced: House) -> None:
    answer = ask(priced, "machine time", "-m", "local")
    machine = PER_MS * computed_ms(answer)
    cost = answer["cost"]
    assert cost["parts"] == {"tokens": 0, "machine": machine, "overhead": machine / 10}
    assert machine > 0
    assert cost["amount"] == machine + machine / 10


def test_both_prices_and_an_overhead_on_all(priced: House) -> None:
    answer = ask(priced, "both prices", "-m", "both")
    parts = answer["cost"]["parts"]
    machine = 2 * PER_MS * computed_ms(answer)
    assert parts["machine"] == machine
    assert parts["tokens"] > 0
    assert parts["overhead"] == (machine + parts["tokens"]) / 2
    assert answer["cost"]["amount"] == sum(parts.values())


def test_what_was_generated_before_a_cancel_is_paid_for(priced: House) -> None:
    priced.ok("models", "add", "slow", "echo", "--price-in", "1", "--price-out", "2", "--set", "token_ms=20")
    running = priced.spawn("ask", "a b c d e f g h " * 40, "-m", "slow", "--json")
    assert running.first_byte()
    assert not running.interrupt(), "the answer is not finished"
    outcome = running.end()
    assert outcome.status == 130
    cut = outcome.last
    usage = cut["usage"]
    assert usage["completion_tokens"] > 0
    spent = (Decimal(usage["prompt_tokens"]) + 2 * Decimal(usage["completion_tokens"])) / 10**6
    assert exact(cut["cost"])["amount"] == spent


def test_models_show_says_where_each_price_comes_from(priced: House) -> None:
    def rows(name: str) -> list[str]:
        lines = priced.ok("models", "show", name).out.splitlines()
        return [" ".join(line.split()) for line in lines if "EUR" in line or "unpriced" in line]

    assert rows("local") == ["machine_per_hour 3.6 EUR per hour of computing (money.machine_per_hour)"]
    assert rows("tokens") == [
        "price_in 1 EUR per million tokens (set with the model)",
        "price_cached 0.5 EUR per million tokens (set with the model)",
        "price_out 2 EUR per million tokens (set with the model)",
    ]
    assert "machine_per_hour 7.2 EUR per hour of computing (models.both.machine_per_hour)" in rows("both")
    shown = priced.ok("models", "show", "both", "--json").last
    assert shown["currency"] == "EUR"
    assert shown["prices"]["price_out"] == {"value": 2, "source": "set with the model"}


def test_a_missing_price_is_unpriced_and_refuses_nothing(shared: House) -> None:
    shared.echo("plain")
    unpriced = {
        "amount": None, "currency": "USD", "priced": False,
        "parts": {"tokens": None, "machine": None, "overhead": None}, "reserved": None, "saved": None,
    }  # fmt: skip
    for hit in (None, "memory"):
        answer = ask(shared, "no price", "-m", "plain")
        assert (answer["cache"]["hit"], answer["cost"]) == (hit, unpriced)
    assert "prices none: answers are unpriced" in " ".join(shared.ok("models", "show", "plain").out.split())
    shared.ok("models", "add", "hosted", "https://api.openai.com/v1", "--remote-model", "gpt-4o-mini")
    shown = shared.ok("models", "show", "hosted", "--json").last["prices"]
    assert shown["price_in"]["value"] == 0.15
    assert shown["price_in"]["source"].startswith("genai-prices ")
    shared.ok("models", "rm", "hosted", "--yes")


def test_energy_is_priced_as_machine_time(tmp_path: Path) -> None:
    """A folder in the form of powercap stands in for the machine's meter: each reading of its counter is ten joules on."""
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    counter = zone / "energy_uj"
    counter.write_text("0\n")
    with house(LLMCTL_POWERCAP=str(tmp_path)) as home:
        configured(home, "[money]\nenergy_per_kwh = 0.36")
        home.echo("slow", token_ms=20)
        running = home.spawn("ask", "a b c d e f", "-m", "slow", "--json")
        assert running.first_byte()
        counter.write_text("10000000\n")
        cost = exact(running.end().last["cost"])
        balance = exact(home.ok("budget", "ledger", "--verify", "--json").last)
    assert (balance["settled"], balance["over"]) == (cost["amount"], 0)
    assert cost["parts"] == {
        "tokens": 0, "machine": Decimal("0.000001"), "overhead": Decimal("0.0000001"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('money.currency="XYZ"', "XYZ"),
        ("money.machine_per_hour=-1", "-1"),
        ("money.energy_per_kwh=nan", "NaN"),
        ('money.machine_per_hour="cheap"', "'cheap' is not a number"),
        ('models.m.price_in="dear"', "'dear' is not a number"),
        ("models.m.overhead=-0.1", "-0.1"),
        ('models.m.overhead_on="some"', "overhead_on"),
    ],
)
def test_a_price_that_cannot_be_is_refused_by_name(tmp_path: Path, setting: str, said: str) -> None:
    with house() as home:
        configured(home, setting)
        outcome = home.run("models", "ls")
    assert outcome.status == 2, outcome
    assert said in outcome.err
    assert setting.partition("=")[0].rpartition(".")[2] in outcome.err


def test_no_price_is_set_with_a_model_that_is_no_number(shared: House) -> None:
    for option, value in (("--price-in", "much"), ("--price-out", "-1")):
        outcome = shared.run("models", "add", "wrong", "echo", option, value)
        assert outcome.status == 5
        assert value in outcome.err
