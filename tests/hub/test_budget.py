"""Budgets: windows in time zones, reserve and settle under concurrency, and a ledger that balances."""

import asyncio
import datetime
import random
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from llmctld.call.call import Call, Event
from llmctld.money.pricing.amounts import UNIT, money, units
from llmctld.money.pricing.prices import Parts, Price
from llmctld.money.pricing.rates import Rates
from llmctld.money.spending.accounts import Accounts, Reservation
from llmctld.money.spending.budgets import Budgets, Raise
from llmctld.money.spending.ledger import Charge, Settlement
from llmctld.money.spending.scopes import Scope, parse_scope
from llmctld.money.spending.windows import window, zone_of
from llmctld.pipeline.paying import budget as stage_of_budget
from llmctld.pipeline.paying.budget import settlement

from llmctl.config import ModelEntry
from llmctl.config.amounts import is_amount
from llmctl.errors import BudgetExceeded, Busy, InvalidRequest, LlmctlError, Storage
from llmctl.wire import Answers, Timings, TokenUsage
from tests.hub.scene import a_call, in_loop

ANA, BEN, TEAM = Scope("user", "ana"), Scope("user", "ben"), Scope("group", "team")
NOW = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.timezone.utc).timestamp()


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def some(folder: Path, clock: Clock | None = None) -> Accounts:
    clock = clock or Clock()
    return Accounts(Budgets(folder / "budgets.json"), folder / "ledger.db", "USD", clock=clock, steady=clock)


def charge(*scopes: Scope, request: str = "r") -> Charge:
    return Charge(request, scopes[0].name, "m", ["t"], "request", None, scopes)


def of(amount: str) -> int:
    return units(Decimal(amount))


# ---- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "zone", "at", "start", "end"),
    [
        ("daily", "Asia/Tokyo", "2026-11-30T15:00+00:00", "2026-12-01T00:00+09:00", "2026-12-02T00:00+09:00"),
        ("monthly", "Asia/Tokyo", "2026-11-30T14:59+00:00", "2026-11-01T00:00+09:00", "2026-12-01T00:00+09:00"),
        ("monthly", "UTC", "2026-12-31T23:59+00:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("weekly", "UTC", "2026-11-29T23:59+00:00", "2026-11-23T00:00+00:00", "2026-11-30T00:00+00:00"),
        ("weekly", "UTC", "2026-11-30T00:00+00:00", "2026-11-30T00:00+00:00", "2026-12-07T00:00+00:00"),
        ("daily", "Europe/Berlin", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("daily", "Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("daily", "America/Sao_Paulo", "2018-11-04T12:00-02:00", "2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00"),
        ("daily", "Asia/Kathmandu", "2026-11-30T18:15+00:00", "2026-12-01T00:00+05:45", "2026-12-02T00:00+05:45"),
    ],
)
def test_a_window_begins_at_midnight_in_its_zone(kind: str, zone: str, at: str, start: str, end: str) -> None:
    """Also on days of 23 and 25 hours, where midnight does not exist, and at the end of a month."""
    moments = [datetime.datetime.fromisoformat(text).timestamp() for text in (at, start, end)]
    found = window(kind, moments[0], zone_of(zone))
    assert [found.start, found.end] == moments[1:]
    assert found.start <= moments[0] < found.end


def test_windows_of_every_hour_of_two_years_follow_each_other_without_a_gap() -> None:
    for zone in map(zone_of, ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")):
        for kind in ("daily", "weekly", "monthly"):
            at, last = NOW, window(kind, NOW, zone)
            for _ in range(2 * 366 * 4):
                at += 6 * 3600
                found = window(kind, at, zone)
                assert found == last or found.start == last.end
                last = found


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Mars/Base", "../etc/passwd", ""):
        with pytest.raises(InvalidRequest, match="time zone"):
            zone_of(name)


def test_scopes_as_the_command_line_writes_them() -> None:
    for text, scope in (
        ("ana", ANA),
        ("@team", TEAM),
        ("model:a:b", Scope("model", "a:b")),
        ("tag:x", Scope("tag", "x")),
    ):
        assert parse_scope(text) == scope
        assert str(scope) == text
    for text in ("", "@", "model:", "tag: ", "a\nb"):
        with pytest.raises(InvalidRequest):
            parse_scope(text)


# ---- reserve and settle ---------------------------------------------------------------------------------------------


@in_loop
async def test_of_64_concurrent_requests_against_a_budget_for_three_exactly_three_run(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal("0.3")}, lambda: NOW)
    await accounts.open()
    ran = 0

    async def one(number: int) -> None:
        nonlocal ran
        held = await accounts.reserve(charge(ANA, request=str(number)), of("0.1"))
        ran += 1
        await asyncio.sleep(0)
        await accounts.settle(held, Settlement(of("0.1"), of("0.1")))

    outcomes = await asyncio.gather(*(one(number) for number in range(64)), return_exceptions=True)
    refused = [error for error in outcomes if isinstance(error, BudgetExceeded)]
    assert (ran, len(refused)) == (3, 61)
    assert "0.3 USD is spent and 0 USD left, and this request may cost up to 0.1 USD" in refused[0].message
    assert "resets at 2026-" in refused[0].message
    balance = await accounts.verify()
    assert (balance.charges, balance.open, balance.settled, balance.wrong) == (3, 0, of("0.3"), [])
    accounts.close()


@in_loop
async def test_a_request_waits_for_reservations_and_is_decided_when_they_settle(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    await accounts.open()
    first = await accounts.reserve(charge(ANA), of("0.9"))
    second = asyncio.create_task(accounts.reserve(charge(ANA), of("0.5")))
    third = asyncio.create_task(accounts.reserve(charge(ANA), of("0.9")))
    other = await accounts.reserve(charge(BEN), of("9"))  # without a budget
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    await accounts.settle(first, Settlement(of("0.4"), of("0.4")))
    held = await second
    with pytest.raises(BudgetExceeded):
        await third
    await accounts.settle(held, Settlement(0))
    await accounts.settle(held, Settlement(of("0.5")))  # once
    await accounts.settle(other, Settlement(of("7"), of("7")))
    assert accounts.windows(ANA)["daily"].spent == of("0.4")
    assert accounts.windows(ANA)["daily"].reserved == 0
    assert accounts.windows(BEN)["daily"].spent == of("7")
    assert (await accounts.verify()).wrong == []
    accounts.close()


@in_loop
async def test_random_cancels_never_pass_the_limit_and_leave_nothing_reserved(tmp_path: Path) -> None:
    """Twenty rounds of requests that are cancelled anywhere; what fits in the end is not refused."""
    chance = random.Random(16)
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        accounts = some(folder)
        accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
        accounts.budgets.set(TEAM, {"weekly": Decimal("1.5"), "members": ["ana", "ben"]}, lambda: NOW)
        await accounts.open()
        most = 0

        async def one(scopes: list[Scope], bound: int, cost: int, pauses: int, accounts: Accounts = accounts) -> None:
            nonlocal most
            held = await accounts.reserve(charge(*scopes), bound)
            try:
                for _ in range(pauses):
                    await asyncio.sleep(0)
            finally:
                await asyncio.shield(accounts.settle(held, Settlement(cost, cost)))
                most = max(most, accounts.windows(ANA)["daily"].spent)

        tasks = []
        for _ in range(40):
            bound = of("0.1")
            who = [ANA, TEAM] if chance.random() < 0.6 else [BEN, TEAM]
            tasks.append(asyncio.create_task(one(who, bound, chance.randrange(bound + 1), chance.randrange(6))))
        for task in tasks:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                task.cancel()
        await asyncio.wait(tasks)
        assert most <= of("1")
        day, week = accounts.windows(ANA)["daily"], accounts.windows(TEAM)["weekly"]
        assert (day.reserved, week.reserved) == (0, 0)
        assert week.spent <= of("1.5")
        balance = await accounts.verify()
        assert (balance.open, balance.wrong) == (0, [])
        left = min(of("1") - day.spent, of("1.5") - week.spent)
        last = await accounts.reserve(charge(ANA, TEAM), left)
        with pytest.raises(BudgetExceeded):
            await accounts.reserve(charge(ANA, TEAM), left + 1)
        await accounts.settle(last, Settlement(left, left))
        accounts.close()


@in_loop
async def test_one_after_another_spends_to_within_one_bound_of_the_limit(tmp_path: Path) -> None:
    chance, accounts, bound = random.Random(5), some(tmp_path), of("0.1")
    accounts.budgets.set(ANA, {"monthly": Decimal(2)}, lambda: NOW)
    await accounts.open()

    async def spend() -> None:
        cost = chance.randrange(bound + 1)
        await accounts.settle(await accounts.reserve(charge(ANA), bound), Settlement(cost, cost))

    with suppress(BudgetExceeded):
        while True:
            await spend()
    assert of("2") - bound < accounts.windows(ANA)["monthly"].spent <= of("2")
    accounts.close()


@in_loop
async def test_more_is_reserved_while_work_runs_and_refused_where_it_does_not_fit(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    await accounts.open()
    held = await accounts.reserve(charge(ANA), of("0.5"))
    assert accounts.reserve_more(held, of("0.5"))
    assert not accounts.reserve_more(held, 1)
    await accounts.settle(held, Settlement(of("1"), machine=of("1")))
    assert (await accounts.verify()).wrong == []
    accounts.close()


@in_loop
async def test_who_takes_over_pays(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(BEN, {"daily": Decimal("0.2")}, lambda: NOW)
    await accounts.open()
    held = await accounts.reserve(charge(ANA), of("0.2"))
    assert accounts.hand_over(held, charge(BEN))
    assert accounts.windows(ANA)["daily"].reserved == 0
    await accounts.settle(held, Settlement(of("0.2"), of("0.2")))
    assert accounts.windows(BEN)["daily"].spent == of("0.2")
    again = await accounts.reserve(charge(ANA), 1)
    assert not accounts.hand_over(again, charge(BEN)), "nothing is left"
    await accounts.settle(again, Settlement(0))
    assert (await accounts.verify()).wrong == []
    accounts.close()


@in_loop
async def test_whoever_is_refused_a_take_over_pays_nothing_and_those_who_wait_go_on(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    accounts.budgets.set(BEN, {"daily": Decimal("0.1")}, lambda: NOW)
    held = await accounts.reserve(charge(ANA), of("1"))
    assert not accounts.hand_over(held, charge(BEN))
    await accounts.settle(held, Settlement(of("0.3"), of("0.3")))
    assert (accounts.windows(ANA)["daily"].spent, accounts.windows(BEN)["daily"].spent) == (of("0.3"), 0)
    held = await accounts.reserve(charge(ANA), of("0.7"))
    waiting = asyncio.create_task(accounts.reserve(charge(ANA), of("0.5")))
    await asyncio.sleep(0)
    accounts.budgets.set(BEN, {"daily": Decimal(1)}, lambda: NOW)
    assert accounts.hand_over(held, charge(BEN))
    await accounts.settle(await waiting, Settlement(0))  # hangs if nobody tells it
    await accounts.settle(held, Settlement(0))
    assert (await accounts.verify()).wrong == []
    accounts.close()


@in_loop
async def test_what_is_settled_after_a_rebuild_is_kept_in_the_new_ledger(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    held = await accounts.reserve(charge(ANA), of("0.7"))
    await accounts.rebuild()
    assert (await accounts.verify()).open == 1
    await accounts.settle(held, Settlement(of("0.7"), of("0.7")))
    assert (await accounts.verify()).wrong == []
    accounts.close()
    again = some(tmp_path)
    await again.open()
    assert again.windows(ANA)["daily"].spent == of("0.7")
    again.close()


@in_loop
async def test_what_was_spent_without_a_ledger_is_in_the_rebuilt_one(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    accounts = some(tmp_path)
    held = await accounts.reserve(charge(BEN), 5)
    await accounts.settle(held, Settlement(5, 5))
    await accounts.rebuild()
    accounts.close()
    again = some(tmp_path)
    await again.open()
    assert again.windows(BEN)["daily"].spent == 5
    again.close()


@in_loop
async def test_a_ledger_that_cannot_be_opened_for_a_while_is_opened_later_and_never_set_aside(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    folder.mkdir()
    accounts = Accounts(Budgets(tmp_path / "budgets.json"), folder / "ledger.db", "USD", clock=Clock(), steady=Clock())
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    await accounts.settle(await accounts.reserve(charge(ANA), of("0.7")), Settlement(of("0.7"), of("0.7")))
    accounts.close()
    folder.rename(elsewhere)
    again = Accounts(Budgets(tmp_path / "budgets.json"), folder / "ledger.db", "USD", clock=Clock(), steady=Clock())
    await again.open()
    with pytest.raises(Storage) as caught:
        await again.reserve(charge(ANA), 1)
    assert "--rebuild" not in caught.value.hint
    elsewhere.rename(folder)
    await again.rebuild()
    assert again.windows(ANA)["daily"].spent == of("0.7")
    with pytest.raises(BudgetExceeded):
        await again.reserve(charge(ANA), of("0.5"))
    again.close()


@in_loop
async def test_a_settlement_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    held = await accounts.reserve(charge(ANA), of("0.7"))
    connection = sqlite3.connect(tmp_path / "ledger.db")
    full = "CREATE TRIGGER full BEFORE UPDATE ON charges BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
    connection.execute(full)
    connection.commit()
    with pytest.raises(Storage):
        await accounts.settle(held, Settlement(of("0.7"), of("0.7")))
    accounts.look()
    assert (await accounts.verify()).open == 1
    connection.execute("DROP TRIGGER full")
    connection.commit()
    connection.close()
    accounts.look()
    balance = await accounts.verify()
    assert (balance.open, balance.settled, balance.wrong) == (0, of("0.7"), [])
    accounts.close()


@in_loop
async def test_what_began_yesterday_is_charged_to_yesterday_and_holds_nothing_of_today(tmp_path: Path) -> None:
    clock = Clock()
    accounts = some(tmp_path, clock)
    accounts.budgets.set(ANA, {"daily": Decimal(1), "zone": "UTC"}, lambda: NOW)
    await accounts.settle(await accounts.reserve(charge(ANA), of("0.5")), Settlement(of("0.5"), of("0.5")))
    held = await accounts.reserve(charge(ANA), of("0.4"))
    clock.now += 86400
    assert not accounts.reserve_more(held, of("0.2")), "0.1 of yesterday is left"
    assert accounts.reserve_more(held, of("0.1"))
    today = await accounts.reserve(charge(ANA), of("1"))
    await accounts.settle(held, Settlement(of("0.5"), of("0.5")))
    await accounts.settle(today, Settlement(of("1"), of("1")))
    assert accounts.windows(ANA, NOW)["daily"].spent == of("1")
    accounts.close()


@in_loop
async def test_a_large_request_is_not_kept_out_by_small_ones_that_come_later(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    first = await accounts.reserve(charge(ANA), of("0.5"))
    large = asyncio.create_task(accounts.reserve(charge(ANA), of("0.9")))
    await asyncio.sleep(0)
    small = asyncio.create_task(accounts.reserve(charge(ANA), of("0.5")))
    await asyncio.sleep(0)
    assert accounts.windows(ANA)["daily"].reserved == of("0.5")
    other = await accounts.reserve(charge(BEN), of("1"))
    await accounts.settle(first, Settlement(0))
    await accounts.settle(await large, Settlement(0))
    await accounts.settle(await small, Settlement(0))
    await accounts.settle(other, Settlement(0))
    assert (await accounts.verify()).open == 0
    accounts.close()


@in_loop
async def test_a_thousand_that_wait_are_decided_with_few_looks_and_memory_forgets_who_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    accounts = some(tmp_path, clock)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    looks, fits = 0, accounts._fits

    def counted(*arguments: Any, **named: Any) -> bool:
        nonlocal looks
        looks += 1
        return fits(*arguments, **named)

    accounts._fits = counted  # type: ignore[method-assign]

    async def one(number: int) -> None:
        held = await accounts.reserve(charge(ANA, Scope("tag", str(number))), of("0.3"))
        await accounts.settle(held, Settlement(1, 1))

    await asyncio.gather(*(one(number) for number in range(1000)))
    assert looks < 5000, "not each of them at each settlement"
    assert len(accounts.sums) == 1001
    clock.now += 40 * 86400
    accounts.look()
    assert accounts.sums == {}
    accounts.close()


@pytest.mark.parametrize("text", ["1e99999999", "1e-99999999", "0e99999999", "-1", "NaN", "Infinity", "1e16"])
def test_an_amount_that_would_take_minutes_to_write_out_is_refused(text: str) -> None:
    assert not is_amount(Decimal(text))
    assert is_amount(Decimal("1e15"))
    assert is_amount(Decimal("0.000000000001"))


@in_loop
async def test_more_machine_time_is_reserved_for_all_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_of_budget, "LOOK_S", 0.001)
    accounts, rates, asked = some(tmp_path), Rates(), asyncio.get_running_loop().create_future()
    rates.note("m", TokenUsage(1, 0, 1), Timings(prefill_ms=1e-9, decode_ms=1e-9))

    def more(held: Reservation, amount: int) -> bool:
        if not asked.done():
            asked.set_result(amount)
        return True

    monkeypatch.setattr(accounts, "reserve_more", more)

    async def last(call: Call) -> AsyncGenerator[Event, None]:
        await asked
        yield Answers(answers=[])

    call = a_call(n=3)
    call.model, call.price = ModelEntry(name="m", backend="echo", target="echo"), Price(per_hour=Decimal(3600))
    stage = stage_of_budget.budget(accounts, rates, "me")(last)
    assert [event async for event in stage(call)]
    assert asked.result() == of("3.3")
    accounts.close()


def test_energy_is_reserved_before_it_is_measured_and_by_the_highest_power_after() -> None:
    rates = Rates()
    assert rates.watts("m") == 1000
    rates.note_energy("m", 60.0, 2.0)
    rates.note_energy("m", 10.0, 2.0)
    assert rates.watts("m") == 30


# ---- limits ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_new_day_begins_anew_and_a_clock_that_is_set_back_gives_nothing_back(tmp_path: Path) -> None:
    clock = Clock()
    accounts = some(tmp_path, clock)
    accounts.budgets.set(ANA, {"daily": Decimal(1), "monthly": Decimal(3), "zone": "UTC"}, lambda: NOW)
    await accounts.open()

    async def spend(amount: str) -> None:
        held = await accounts.reserve(charge(ANA), of(amount))
        await accounts.settle(held, Settlement(of(amount), of(amount)))

    await spend("1")
    clock.now += 86400  # the first of December
    await spend("1")
    clock.now -= 86400
    with pytest.raises(BudgetExceeded, match="daily"):
        await spend("0.1")
    clock.now += 86400
    with pytest.raises(BudgetExceeded, match="daily"):
        await spend("0.1")
    for _ in range(2):
        clock.now += 86400
        await spend("1")
    clock.now += 86400
    with pytest.raises(BudgetExceeded, match="monthly budget of ana is 3 USD"):
        await spend("0.1")
    accounts.close()


@in_loop
async def test_a_raise_holds_until_it_ends(tmp_path: Path) -> None:
    clock = Clock()
    accounts = some(tmp_path, clock)
    accounts.budgets.set(ANA, {"daily": Decimal(1), "raised": Raise(Decimal(2), NOW + 3600)}, clock)
    await accounts.open()
    assert accounts.windows(ANA)["daily"].limit == of("3")
    clock.now += 3600
    assert accounts.windows(ANA)["daily"].limit == of("1")
    accounts.close()


@in_loop
async def test_requests_a_minute(tmp_path: Path) -> None:
    clock = Clock()
    accounts = some(tmp_path, clock)
    accounts.budgets.set(ANA, {"rpm": 2}, clock)
    accounts.admit([ANA])
    clock.now += 20
    accounts.admit([ANA, BEN])
    with pytest.raises(Busy, match="2 requests a minute, and has; the next one is taken in 40 s"):
        accounts.admit([ANA])
    clock.now += 41
    accounts.admit([ANA])
    with pytest.raises(Busy):
        accounts.admit([ANA])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"daily": Decimal(-1)}, "daily is -1"),
        ({"daily": Decimal("NaN")}, "daily is NaN"),
        ({"daily": Decimal(5), "monthly": Decimal(4)}, "daily is 5 and monthly is 4"),
        ({"weekly": Decimal(5), "monthly": Decimal(4)}, "weekly is 5 and monthly is 4"),
        ({"rpm": 0}, "rpm is 0"),
        ({"zone": "Mars/Base"}, "time zone"),
        ({"members": ["ben"]}, "ana has no members"),
        ({"raised": Raise(Decimal(0), NOW + 1)}, "raise is 0"),
        ({"raised": Raise(Decimal(1), NOW - 1)}, "past"),
    ],
)
def test_limits_that_cannot_be_are_refused_and_change_nothing(tmp_path: Path, changes: Any, said: str) -> None:
    budgets = Budgets(tmp_path / "budgets.json")
    budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    with pytest.raises(InvalidRequest) as caught:
        budgets.set(ANA, changes, lambda: NOW)
    assert said in caught.value.message
    assert Budgets(tmp_path / "budgets.json").of(ANA) == budgets.of(ANA)
    assert budgets.of(ANA) is not None


@in_loop
async def test_budgets_that_cannot_be_read_let_nobody_spend(tmp_path: Path) -> None:
    (tmp_path / "budgets.json").write_text("{")
    accounts = some(tmp_path)
    await accounts.open()
    with pytest.raises(Storage, match="budgets cannot be read"):
        await accounts.reserve(charge(ANA), 1)
    with pytest.raises(Storage):
        accounts.budgets.set(ANA, {"daily": Decimal(1)})
    assert (tmp_path / "budgets.json").read_text() == "{"
    accounts.close()


# ---- the ledger -----------------------------------------------------------------------------------------------------


@in_loop
async def test_what_a_killed_hub_left_open_costs_what_was_journaled_and_is_marked(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    await accounts.open()
    held = await accounts.reserve(charge(ANA), of("0.5"))
    await accounts.reserve(charge(ANA), of("0.5"))
    accounts.journal(held, of("0.2"))
    await accounts.verify()
    accounts.close()  # neither is settled
    again = some(tmp_path)
    await again.open()
    assert again.windows(ANA)["daily"].spent == of("0.2")
    assert again.windows(ANA)["daily"].reserved == 0
    balance = await again.verify()
    assert (balance.charges, balance.open, balance.recovered, balance.settled, balance.wrong) == (
        2,
        0,
        2,
        of("0.2"),
        [],
    )
    rows = await again.rows("ana", 10)
    assert [(row.settled, row.mark) for row in rows] == [(Decimal("0.2"), "recovered"), (Decimal(0), "recovered")]
    again.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE charges SET settled = settled + 1 WHERE number = 1", "its parts are"),
        ("UPDATE spent SET units = units - 1 WHERE scope LIKE '%ana%'", "ana, quarter"),
        ("DELETE FROM charges WHERE number = 1", "its charges are 0"),
        ("UPDATE charges SET reserved = 1 WHERE number = 1", "of 1 reserved"),
    ],
)
@in_loop
async def test_a_changed_ledger_does_not_balance(tmp_path: Path, damage: str, said: str) -> None:
    accounts = some(tmp_path)
    held = await accounts.reserve(charge(ANA), of("0.5"))
    await accounts.settle(held, Settlement(of("0.5"), of("0.5")))
    assert (await accounts.verify()).wrong == []
    accounts.close()
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute(damage)
    connection.commit()
    connection.close()
    again = some(tmp_path)
    assert any(said in sentence for sentence in (await again.verify()).wrong)
    again.close()


@in_loop
async def test_a_lost_ledger_refuses_limits_until_it_is_rebuilt_from_memory(tmp_path: Path) -> None:
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    held = await accounts.reserve(charge(ANA), of("0.7"))
    await accounts.settle(held, Settlement(of("0.7"), of("0.7")))
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    with pytest.raises(Storage) as caught:
        await accounts.reserve(charge(ANA), 1)
    assert "budget ledger --rebuild" in caught.value.hint
    free = await accounts.reserve(charge(BEN), of("1"))
    await accounts.settle(free, Settlement(of("1"), of("1")))
    await accounts.rebuild()
    assert accounts.windows(ANA)["daily"].spent == of("0.7")
    held = await accounts.reserve(charge(ANA), of("0.3"))
    await accounts.settle(held, Settlement(of("0.3"), of("0.3")))
    assert (await accounts.verify()).wrong == []
    accounts.close()
    again = some(tmp_path)
    await again.open()
    assert again.windows(ANA)["daily"].spent == of("1")
    assert (await again.verify()).wrong == []
    again.close()


@in_loop
async def test_a_damaged_ledger_is_named_at_the_start_and_rebuilt_on_order(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    accounts = some(tmp_path)
    accounts.budgets.set(ANA, {"daily": Decimal(1)}, lambda: NOW)
    await accounts.open()
    assert "--rebuild" in accounts.news[0]
    with pytest.raises(LlmctlError, match="ledger"):
        await accounts.reserve(charge(ANA), 1)
    await accounts.settle(await accounts.reserve(charge(BEN), 1), Settlement(1, 1))
    await accounts.rebuild()
    assert list(tmp_path.glob("ledger.db.*")), "the old file is kept"
    await accounts.settle(await accounts.reserve(charge(ANA), 1), Settlement(1, 1))
    assert (await accounts.verify()).wrong == []
    accounts.close()


def test_money_is_shown_without_an_exponent() -> None:
    assert f"{money(1):f}" == "0.000000000001"
    assert f"{money(UNIT * 10):f}" == "10"


def test_an_engine_of_ours_is_charged_no_more_than_was_reserved() -> None:
    """Also where the overhead alone is more: vectors that took twenty minutes instead of one."""
    parts = [Parts(tokens=5, machine=1_000, overhead=100)]
    spent = settlement(parts, [TokenUsage(7)], 66, is_remote=False)
    assert (spent.units, spent.mark) == (66, "")
    assert spent.units == (spent.tokens or 0) + (spent.machine or 0) + spent.overhead
    over = settlement(parts, [TokenUsage(7)], 66, is_remote=True)
    assert (over.units, over.mark) == (1_105, "over")
