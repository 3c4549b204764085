"""Budgets through the command: limits, what is left, refusals with status 6, and a ledger that balances whatever happens."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.house import House, house, until, with_signal
from tests.faulty_server import embed, server


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """A model with prices, and one without."""
    with house() as made:
        made.ok("models", "add", "dear", "echo", "--price-in", "1000", "--price-out", "1000")
        made.echo("free")
        yield made


def left(home: House, whose: str, window: str = "daily") -> dict[str, Any]:
    found: dict[str, Any] = home.ok("budget", "show", whose, "--json").last["windows"][window]
    return found


def spent(home: House, whose: str, window: str = "daily") -> Decimal:
    return Decimal(str(left(home, whose, window)["spent"]))


def balanced(home: House) -> dict[str, Any]:
    found = home.ok("budget", "ledger", "--verify", "--json").last
    assert found["balances"]
    return found


def cost(answer: dict[str, Any]) -> Decimal:
    return Decimal(str(answer["cost"]["amount"]))


# ---- 2 set, show, ls, rm --------------------------------------------------------------------------------------------


def test_a_budget_is_set_shown_changed_and_removed(home: House) -> None:
    shown = home.ok("budget", "set", "ana", "--daily", "2", "--monthly", "20", "--tz", "Asia/Tokyo", "--json").last
    assert (shown["user"], shown["available"], shown["zone"]) == ("ana", 2, "Asia/Tokyo")
    assert (
        shown["windows"]["daily"].items() >= {"limit": 2, "spent": 0, "reserved": 0, "remaining": 2, "ratio": 0}.items()
    )
    assert shown["windows"]["daily"]["resets_at"].endswith("T00:00:00+09:00")
    assert shown["windows"]["weekly"]["limit"] is None
    home.ok("budget", "set", "ana", "--weekly", "5")
    home.ok("budget", "set", "@team", "--members", "ana,ben", "--monthly", "50")
    listed = [line for line in home.ok("budget", "ls", "--json").lines if line["user"] in ("ana", "@team")]
    assert [line["user"] for line in listed] == ["@team", "ana"]
    assert [listed[1]["windows"][kind]["limit"] for kind in ("daily", "weekly", "monthly")] == [2, 5, 20]
    words = home.ok("budget", "show", "ana").out
    assert words.splitlines()[0].split() == ["WINDOW", "LIMIT", "SPENT", "RESERVED", "LEFT", "USED", "RESETS"]
    assert "ana: 2 USD available" in words
    assert home.run("budget", "rm", "ana").status == 2
    home.ok("budget", "rm", "ana", "--yes")
    home.ok("budget", "rm", "@team", "--yes")
    assert not {"ana", "@team"} & {line["user"] for line in home.ok("budget", "ls", "--json").lines}
    assert home.ok("budget", "show", "ana", "--json").last["available"] is None, "no budget is no limit"
    assert home.run("budget", "rm", "ana", "--yes").status == 5


def test_a_request_that_may_cost_more_than_is_left_is_refused_and_others_are_not(home: House) -> None:
    home.ok("budget", "set", "carl", "--daily", "1")
    first = home.ok("ask", "x", "-m", "dear", "--user", "carl", "--max-tokens", "5", "--json", "--no-stream").last
    assert first["cost"]["reserved"] >= first["cost"]["amount"] > 0
    assert spent(home, "carl") == cost(first)
    outcome = home.run("ask", "y", "-m", "dear", "--user", "carl", "--max-tokens", "5000", "--json")
    assert outcome.status == 6
    assert outcome.out == ""
    message = outcome.error["message"]
    assert message.startswith("the daily budget of carl is 1 USD: ")
    assert "left, and this request may cost up to 5." in message
    assert "resets at 20" in message
    assert "--raise" in outcome.error["hint"]
    home.ok("ask", "y", "-m", "dear", "--user", "dora", "--max-tokens", "5000")
    home.ok("ask", "y", "-m", "free", "--user", "carl")
    hit = home.ok("ask", "x", "-m", "dear", "--user", "carl", "--max-tokens", "5", "--json", "--no-stream").last
    assert (hit["cache"]["hit"], hit["cost"]["amount"], hit["cost"]["saved"]) == ("memory", 0, first["cost"]["amount"])
    assert spent(home, "carl") == cost(first), "a hit costs nothing"
    balanced(home)


def test_groups_models_and_tags_have_budgets_too(home: House) -> None:
    home.ok("budget", "set", "@crew", "--members", "eva,finn", "--daily", "0.5")
    home.ok("budget", "set", "tag:night", "--daily", "0.5")
    home.ok("models", "add", "other", "echo", "--price-in", "1000", "--price-out", "1000")
    home.ok("budget", "set", "model:other", "--daily", "0.5")
    few = ("--max-tokens", "5", "--no-cache")
    home.ok("ask", "x", "-m", "dear", "--user", "eva", *few)
    assert spent(home, "@crew") > 0
    for arguments, whose in (
        (("-m", "dear", "--user", "finn"), "@crew"),
        (("-m", "dear", "--tag", "night"), "tag:night"),
        (("-m", "other"), "model:other"),
    ):
        outcome = home.run("ask", "x", *arguments, "--max-tokens", "800", "--no-cache")
        assert outcome.status == 6
        assert f"the daily budget of {whose} is 0.5 USD" in outcome.err
    for whose in ("@crew", "tag:night", "model:other"):
        home.ok("budget", "rm", whose, "--yes")


def test_a_raise_and_requests_a_minute(home: House) -> None:
    home.ok("budget", "set", "gil", "--daily", "0.1", "--rpm", "2")
    ask = ("ask", "x", "-m", "dear", "--user", "gil", "--max-tokens", "200", "--no-cache")
    assert home.run(*ask).status == 6
    shown = home.ok("budget", "set", "gil", "--raise", "5", "--until", "2h", "--json").last
    assert (shown["windows"]["daily"]["limit"], shown["raised"]) == (5.1, 5)
    home.ok("budget", "set", "gil", "--rpm", "none")
    home.ok("budget", "set", "gil", "--rpm", "2")
    outcome = [home.run(*ask) for _ in range(3)][-1]
    assert outcome.status == 10
    assert "gil may send 2 requests a minute" in outcome.err
    home.ok("budget", "set", "gil", "--raise", "none", "--rpm", "none")
    assert home.ok("budget", "show", "gil", "--json").last["windows"]["daily"]["limit"] == 0.1


def test_max_cost_of_one_request(home: House) -> None:
    outcome = home.run("ask", "x", "-m", "dear", "--max-tokens", "5", "--max-cost", "0.001")
    assert outcome.status == 6
    assert "--max-cost allows 0.001" in outcome.err
    home.ok("ask", "x", "-m", "dear", "--max-tokens", "5", "--max-cost", "5")


def test_many_concurrent_requests_against_a_budget_for_exactly_three(home: House) -> None:
    """Each of them has the same bound, and costs it: the answer is as long as it may be. 64 of them: hub/test_budget.py."""
    home.ok("models", "add", "exact", "echo", "--price-in", "0", "--price-out", "100000", "--set", "slots=16")
    home.ok("budget", "set", "hub", "--daily", "3")
    words = "a b c d e f g h i j k l"

    def ask(number: int) -> int:
        arguments = ("ask", f"{number} {words}", "-m", "exact", "--user", "hub", "--max-tokens", "10", "--no-cache")
        return home.run(*arguments).status

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, range(24)))
    assert sorted(statuses) == [0] * 3 + [6] * 21
    assert left(home, "hub") | {"resets_at": ""} == {
        "limit": 3, "spent": 3, "reserved": 0, "remaining": 0, "ratio": 1, "resets_at": "",
    }  # fmt: skip
    balanced(home)


def test_samples_are_reserved_at_once_and_cancelled_work_is_paid(home: House) -> None:
    home.ok("models", "add", "slow", "echo", "--force", "--price-in", "10", "--price-out", "10", "--set", "token_ms=20")
    home.ok("budget", "set", "ida", "--daily", "100")
    many = home.ok(
        "ask", "x y", "-m", "slow", "--user", "ida", "-n", "3", "--temperature", "0.5", "--json", "--no-stream"
    )
    assert spent(home, "ida") == sum(cost(line) for line in many.lines)
    before = spent(home, "ida")
    running = home.spawn("ask", "a b c d e f g h " * 30, "-m", "slow", "--user", "ida", "--json", "--no-cache")
    assert running.first_byte()
    assert float(left(home, "ida")["reserved"]) > 0
    running.interrupt()
    cut = running.end().last
    assert cost(cut) > 0
    until(lambda: left(home, "ida")["reserved"] == 0)
    assert spent(home, "ida") == before + cost(cut)
    rows = home.ok("budget", "ledger", "--user", "ida", "--json").lines
    assert [row["completion_tokens"] for row in rows][-1] == cut["usage"]["completion_tokens"]
    balanced(home)


def test_vectors_are_paid_for(home: House) -> None:
    with server() as endpoint:
        endpoint.usual = embed()
        home.ok("models", "add", "vectors", endpoint.url, "--embedding", "--price-in", "1000")
        home.ok("budget", "set", "vic", "--daily", "1")
        home.ok("embed", "a few words", "others", "-m", "vectors", "--user", "vic")
        (row,) = home.ok("budget", "ledger", "--user", "vic", "--json").lines
        assert (row["purpose"], row["prompt_tokens"], row["settled"]) == ("embed", 2, 0.002)
        assert spent(home, "vic") == Decimal("0.002")
        outcome = home.run("embed", "word " * 500, "-m", "vectors", "--user", "vic")
    assert outcome.status == 6
    assert "the daily budget of vic is 1 USD" in outcome.err
    balanced(home)


def test_who_takes_over_an_equal_request_without_room_for_it_pays_nothing(home: House) -> None:
    """Users share no cache by default, so the payers here are tags."""
    home.ok("models", "add", "slow", "echo", "--force", "--price-in", "10", "--price-out", "10", "--set", "token_ms=20")
    home.ok("budget", "set", "tag:poor", "--daily", "0")
    ask = ("ask", "a b c d e f g h " * 250, "-m", "slow", "--temperature", "0", "--tag")
    first = home.spawn(*ask, "rich")
    assert first.first_byte()
    second = home.spawn(*ask, "poor")
    assert second.first_byte(), "what it joins costs nothing"
    first.interrupt()
    assert first.end().status == 130
    ended = second.end()
    assert ended.status == 6, ended
    assert "tag:poor" in ended.err
    until(lambda: left(home, "tag:rich")["reserved"] == 0)
    assert spent(home, "tag:poor") == 0
    assert spent(home, "tag:rich") > 0
    balanced(home)


def test_the_label_of_the_hub_does_not_evade_the_budget_of_the_user(home: House) -> None:
    me = home.ok("ask", "who", "-m", "dear", "--json", "--no-stream").last["user"]
    home.ok("budget", "set", me, "--daily", "0")
    for label in ("_llmctl", "@x", "model:dear", "\u00fc"):
        outcome = home.run("ask", "x", "-m", "dear", "--user", label, "--no-cache")
        assert outcome.status == 6, (label, outcome)
        assert f"the daily budget of {me} is 0 USD" in outcome.err
    home.ok("budget", "rm", me, "--yes")


@pytest.mark.parametrize("amount", ["1e99999999", "1e-99999999", "0e99999999"])
def test_an_amount_that_takes_minutes_to_write_out_does_not_reach_the_hub(home: House, amount: str) -> None:
    for arguments, status in (
        (("ask", "x", "-m", "dear", "--max-cost", amount), 2),
        (("budget", "set", "nat", "--daily", amount), 5),
        (("models", "add", "vast", "echo", "--price-in", amount), 5),
    ):
        outcome = home.run(*arguments)
        assert outcome.status == status, outcome
        assert "from 0 to 10^15" in outcome.err


def test_a_killed_engine_and_a_killed_hub_leave_nothing_reserved(home: House) -> None:
    home.ok("models", "add", "slow", "echo", "--force", "--price-in", "10", "--price-out", "10", "--set", "token_ms=20")
    home.ok("budget", "set", "jo", "--daily", "100")
    ask = ("ask", "a b c d e f g h " * 30, "-m", "slow", "--user", "jo", "--json", "--no-cache")
    running = home.spawn(*ask)
    assert running.first_byte()
    (engine,) = [process for process in home.engines() if process.pid == home.ps("slow")["pid"]]
    with_signal(engine, signal.SIGKILL)
    running.end()
    until(lambda: left(home, "jo")["reserved"] == 0)
    running = home.spawn(*ask)
    assert running.first_byte()
    with_signal(home.hub(), signal.SIGKILL)
    running.end()
    found = balanced(home)
    assert (found["open"], found["reserved"]) == (0, 0)
    assert found["recovered"] >= 1
    assert left(home, "jo")["reserved"] == 0


def test_a_machine_price_ends_an_answer_when_the_money_is_over() -> None:
    with house() as own:
        own.place.mkdir(mode=0o700)
        (own.place / "config.toml").write_text("[money]\nmachine_per_hour = 3600\n")
        own.echo("slow", token_ms=20)
        own.ok("budget", "set", "kim", "--daily", "67.5")  # a minute is reserved at first, with a tenth for overhead
        own.ok("ask", "x", "-m", "slow", "--user", "kim", "--no-cache")  # the rate is known from here on
        own.ok("budget", "set", "kim", "--daily", "8")
        outcome = own.run(
            "ask",
            "a b c d e f g h " * 200,
            "-m",
            "slow",
            "--user",
            "kim",
            "--no-cache",
            "--json",
            "--max-tokens",
            "4000",
        )
        assert outcome.status == 6, outcome
        if outcome.out:
            assert outcome.last["finish_reason"] == "budget"
        assert balanced(own)["reserved"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nat", "--daily", "-1"), 5, "daily is -1"),
        (("nat", "--daily", "much"), 5, "daily is 'much'"),
        (("nat", "--daily", "5", "--monthly", "4"), 5, "daily is 5 and monthly is 4"),
        (("nat", "--tz", "Mars/Base"), 5, "'Mars/Base'"),
        (("nat", "--members", "ben"), 5, "@nat"),
        (("nat", "--rpm", "0"), 5, "rpm is 0"),
        (("nat", "--rpm", "x"), 5, "rpm is 'x'"),
        (("@", "--daily", "1"), 5, "USER, @GROUP, model:NAME or tag:NAME"),
        (("nat", "--raise", "1"), 2, "--until"),
        (("nat", "--raise", "1", "--until", "soon"), 2, "'soon'"),
        (("nat", "--raise", "1", "--until", "2020-01-01"), 5, "past"),
        (("nat",), 2, "no limit is given"),
    ],
)
def test_what_cannot_be_a_budget_is_refused(home: House, arguments: tuple[str, ...], status: int, said: str) -> None:
    outcome = home.run("budget", "set", *arguments)
    assert outcome.status == status
    assert said in outcome.err
    assert "nat" not in [line["user"] for line in home.ok("budget", "ls", "--json").lines]


def test_a_ledger_that_is_lost_refuses_who_has_a_limit_until_it_is_rebuilt(home: House) -> None:
    home.ok("budget", "set", "lea", "--daily", "100")
    ask = ("ask", "x", "-m", "dear", "--user", "lea", "--max-tokens", "5", "--no-cache")
    home.ok(*ask)
    before = spent(home, "lea")
    for file in (home.place / "state").glob("ledger.db*"):
        file.unlink()
    outcome = home.run(*ask)
    assert outcome.status == 14
    assert "llmctl budget ledger --rebuild" in outcome.err
    home.ok("ask", "x", "-m", "dear", "--user", "mia", "--max-tokens", "5", "--no-cache")
    assert home.run("budget", "ledger", "--rebuild").status == 2
    home.ok("budget", "ledger", "--rebuild", "--yes")
    assert spent(home, "lea") == before
    home.ok(*ask)
    balanced(home)
    assert json.loads(home.ok("budget", "ledger", "--json", "--limit", "1").out)["user"] == "lea"
