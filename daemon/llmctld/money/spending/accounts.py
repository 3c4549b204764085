"""Who may spend how much: reserves an upper bound before work starts, and settles it to what was used, whatever happens.

Decisions are made in memory, without waiting between the look and the change, and kept in the ledger before work starts.
"""

import asyncio
import datetime
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from llmctl.errors import BudgetExceeded, Busy, Storage, Unreachable
from llmctl.wire import LedgerRow
from llmctld.money.pricing.amounts import money, units
from llmctld.money.spending.account import Account, Spending
from llmctld.money.spending.budgets import Budget, Budgets
from llmctld.money.spending.ledger import Balance, Charge, Ledger, OpenRow, Settlement
from llmctld.money.spending.scopes import Scope
from llmctld.money.spending.windows import KINDS, window, zone_of
from llmctld.runtime.log import log
from llmctld.storage.connection import DamagedDatabase
from llmctld.storage.files import set_aside
from llmctld.storage.loss import LossRule

MONTH_S = 32 * 86400
"""The longest window, and a day more for time zones."""
MINUTE_S = 60.0
REBUILD = "`llmctl budget ledger --rebuild` begins a new one with what is known; the old file is kept beside it."
REFUSES = "requests under a budget are refused until `llmctl budget ledger --rebuild`"
REFUSES_MEANWHILE = "requests under a budget are refused until it can be"
SWEEP_S = 6 * 3600.0
"""How often accounts that nobody needs are dropped."""
limit_units = lru_cache(maxsize=1024)(units)


class Reservation:
    """An amount that is reserved until it is settled."""

    def __init__(self, charge: Charge, at: float, reserved: int) -> None:
        self.charge, self.at, self.reserved = charge, at, reserved
        self.number: int | None = None
        """Of its row in the ledger; None where the ledger cannot be written and nobody involved has a limit."""
        self.settled = False
        self.charged: Settlement | None = None
        """What it was settled to."""


class Waiter(NamedTuple):
    """A request that only reservations of others stand in the way of."""

    charge: Charge
    bound: int
    granted: "asyncio.Future[Reservation]"


class Owed(NamedTuple):
    """A settlement that could not be written yet."""

    number: int
    ended: float
    spent: Settlement


class Accounts:
    """The accounts of all scopes. `clock`: seconds since 1970; `steady`: seconds by a clock that does not jump."""

    def __init__(
        self,
        budgets: Budgets,
        path: Path,
        currency: str,
        durable: bool = False,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budgets, self.currency = budgets, currency
        self.news: list[str] = []
        """Notices for the user."""
        self._path, self._durable, self._clock, self._steady = path, durable, clock, steady
        self._ledger: Ledger | None = None
        self._failure: Storage | None = None
        """Why there will be no ledger until it is rebuilt: then nobody who has a limit may spend."""
        self._passing: Storage | None = None
        """Why the ledger could not be opened the last time."""
        self._opening = asyncio.Lock()
        self._told = False
        self._accounts: dict[Scope, Account] = {}
        self._waiters: deque[Waiter] = deque()
        """In the order of arrival."""
        self._under_way: dict[int, Reservation] = {}
        """By the number of its row."""
        self._owed: deque[Owed] = deque()
        self._swept = steady()

    async def open(self) -> None:
        """Must be awaited first. Opens the ledger if there is one; otherwise the first reservation does."""
        if self._path.exists() or self.budgets:
            await self._open()

    async def _open(self) -> None:
        async with self._opening:
            if self._ledger is not None or self._failure is not None:
                return
            rule = LossRule(
                "the ledger", self.news.append, at_start="a new one was created", under_way=REFUSES, begins_anew=False,
                hint=REBUILD,
            )  # fmt: skip
            try:
                ledger = Ledger(self._path, self._durable, rule)
                sums = await ledger.open(self._clock() - MONTH_S)
            except (Storage, Unreachable) as error:
                self._refuse(error)
                return
            self._ledger = ledger
            for scope, by_quarter in sums.items():
                self.account(scope).load(by_quarter)

    def _refuse(self, error: Storage | Unreachable) -> None:
        """A damaged file stays one, and is not read again; a full disk passes, and the next request tries again."""
        lasts = isinstance(error, DamagedDatabase | Unreachable)
        failure = Storage(f"the ledger cannot be used: {error.message}", REBUILD if lasts else error.hint)
        self._passing = None if lasts else failure
        self._failure = failure if lasts else None
        if not self._told:
            self._told = True
            self.news.append(f"{failure.message}; {REFUSES if lasts else REFUSES_MEANWHILE}")
        log.error("the ledger cannot be used", error=error.message)

    def look(self) -> None:
        """Once a second (storage/watch.py): notices that the ledger is lost, writes what is owed, drops what nobody needs."""
        if self._ledger is not None:
            self._ledger.look()
        if self._owed:
            owed, self._owed = self._owed, deque()
            for each in owed:
                self._write_settlement(each)
        if self._steady() - self._swept >= SWEEP_S:
            self._swept = self._steady()
            self._sweep()

    def _sweep(self) -> None:
        before = self._clock() - MONTH_S
        self._accounts = {scope: account for scope, account in self._accounts.items() if not account.forget(before)}

    def close(self) -> None:
        if self._ledger is not None:
            for owed in self._owed:
                self._ledger.settle(*owed)
            self._ledger.close()

    def account(self, scope: Scope) -> Account:
        return self._accounts.setdefault(scope, Account())

    # ---- what is left -----------------------------------------------------------------------------------------------

    def windows(self, scope: Scope, at: float | None = None) -> dict[str, Spending]:
        """The windows of a scope, by kind: those of now, or around a moment."""
        budget, account, now = self.budgets.of(scope) or Budget(), self._accounts.get(scope) or Account(), self._clock()
        zone = zone_of(budget.zone)
        found = {}
        for kind in KINDS:
            limit, within = budget.limit(kind, now), window(kind, now if at is None else at, zone)
            found[kind] = Spending(
                None if limit is None else limit_units(limit),
                account.spent(within),
                account.reserved(within),
                within.end,
            )
        return found

    def limited(self, scopes: Sequence[Scope]) -> list[Scope]:
        """Those of the scopes that have a budget."""
        return [scope for scope in scopes if self.budgets.of(scope) is not None]

    # ---- reserving --------------------------------------------------------------------------------------------------

    def admit(self, scopes: Sequence[Scope]) -> None:
        """Counts a request against the requests a minute of each scope. Raises Busy with the time to wait."""
        now = self._steady()
        limited = [(scope, budget.rpm) for scope in scopes if (budget := self.budgets.of(scope)) and budget.rpm]
        for scope, rpm in limited:
            arrivals = self._arrivals(scope)
            while arrivals and arrivals[0] <= now - MINUTE_S:
                arrivals.popleft()
            if len(arrivals) >= rpm:
                wait = arrivals[-rpm] + MINUTE_S - now
                raise Busy(
                    f"{scope} may send {rpm} requests a minute, and has; the next one is taken in {wait:.0f} s",
                    f"Wait, or raise the limit: `llmctl budget set {scope} --rpm N`.",
                )
        for scope, _ in limited:
            self._arrivals(scope).append(now)

    def _arrivals(self, scope: Scope) -> deque[float]:
        account = self.account(scope)
        if account.arrivals is None:
            account.arrivals = deque()
        return account.arrivals

    async def reserve(self, charge: Charge, bound: int) -> Reservation:
        """Reserves `bound` units. Waits while only reservations of others stand in the way.

        Raises BudgetExceeded, and Storage if a limit holds and the ledger cannot be written.
        """
        self.budgets.check()
        if self._ledger is None:
            await self._open()
        if self._ledger is None and self.limited(charge.scopes):
            raise self._no_ledger()
        reservation = await self._room(charge, bound)
        if self._ledger is None:
            return reservation
        reservation.number = self._ledger.next_number()
        self._under_way[reservation.number] = reservation
        opened = self._ledger.reserve(reservation.number, charge, reservation.at, bound, self.currency)
        try:
            await asyncio.shield(opened)
        except Storage as error:
            self._under_way.pop(reservation.number, None)
            reservation.number = None
            if self.limited(charge.scopes):
                self._release(reservation)
                raise
            log.error("an amount could not be reserved in the ledger", error=error.message)
        except BaseException:  # cancelled; the row may be there
            opened.add_done_callback(_ignored)
            self._settle(reservation, Settlement(0))
            raise
        return reservation

    async def _room(self, charge: Charge, bound: int) -> Reservation:
        """The amount, reserved in memory. Raises BudgetExceeded."""
        fits = self._fits(charge, bound)
        if fits and not self._waits_behind(charge):
            return self._hold(charge, bound)
        waiter = Waiter(charge, bound, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            return await asyncio.shield(waiter.granted)
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self.reconsider()
            elif not waiter.granted.exception():  # granted in the same moment
                self._release(waiter.granted.result())
            raise

    def _waits_behind(self, charge: Charge) -> bool:
        """Whether an earlier request waits for a budget that this one needs: small ones must not keep a large one out."""
        needed = set(self.limited(charge.scopes))
        return any(not needed.isdisjoint(waiter.charge.scopes) for waiter in self._waiters)

    def _hold(self, charge: Charge, bound: int) -> Reservation:
        reservation = Reservation(charge, self._clock(), bound)
        self._keep(reservation, bound)
        return reservation

    def _keep(self, reservation: Reservation, amount: int) -> None:
        for scope in reservation.charge.scopes:
            self.account(scope).hold(reservation.at, amount)

    def _release(self, reservation: Reservation) -> None:
        """Without a settlement: nothing was written, or it is settled at once."""
        reservation.settled = True
        if reservation.number is not None:
            self._under_way.pop(reservation.number, None)
        self._keep(reservation, -reservation.reserved)
        self.reconsider()

    def reconsider(self) -> None:
        """Something was given back, or a budget has changed: what waits is decided again, in the order of arrival."""
        waiting: deque[Waiter] = deque()
        blocked: set[Scope] = set()
        for waiter in self._waiters:
            if not blocked.isdisjoint(waiter.charge.scopes):
                waiting.append(waiter)
                continue
            try:
                fits = self._fits(waiter.charge, waiter.bound)
            except BudgetExceeded as error:
                waiter.granted.set_exception(error)
                continue
            if fits:
                waiter.granted.set_result(self._hold(waiter.charge, waiter.bound))
            else:
                waiting.append(waiter)
                blocked.update(self.limited(waiter.charge.scopes))
        self._waiters = waiting

    def _fits(self, charge: Charge, bound: int, mine: int = 0, at: float | None = None) -> bool:
        """Whether the amount fits now; False if it may fit once others settle. `mine`: what of the reserved amounts is the same
        request's; `at`: the moment that is charged. Raises BudgetExceeded if it fits in no case.
        """
        waits = False
        for scope in self.limited(charge.scopes):
            for kind, found in self.windows(scope, at).items():
                if found.limit is None:
                    continue
                if found.spent + mine + bound > found.limit:
                    raise self._refusal(scope, kind, found, bound + mine)
                waits |= found.spent + found.reserved + bound > found.limit
        return not waits

    def _refusal(self, scope: Scope, kind: str, found: Spending, bound: int) -> BudgetExceeded:
        assert found.limit is not None
        budget = self.budgets.of(scope) or Budget()
        resets = datetime.datetime.fromtimestamp(found.ends, zone_of(budget.zone)).strftime("%Y-%m-%d %H:%M %Z")
        left = max(0, found.limit - found.spent)
        return BudgetExceeded(
            f"the {kind} budget of {scope} is {self._shown(found.limit)}: {self._shown(found.spent)} is spent and "
            f"{self._shown(left)} left, and this request may cost up to {self._shown(bound)}; it resets at {resets}",
            f"Ask for less (`--max-tokens`), or raise it: `llmctl budget set {scope} --raise X --until T`.",
        )

    def _shown(self, amount: int) -> str:
        return f"{money(amount):f} {self.currency}"

    def reserve_more(self, reservation: Reservation, more: int) -> bool:
        """Reserves more for work that is under way. False where that does not fit."""
        try:
            if not self._fits(reservation.charge, more, reservation.reserved, reservation.at):
                return False
        except BudgetExceeded:
            return False
        self._keep(reservation, more)
        reservation.reserved += more
        if self._ledger is not None and reservation.number is not None:
            self._ledger.reserve_more(reservation.number, more).add_done_callback(_ignored)
        return True

    def hand_over(self, reservation: Reservation, charge: Charge) -> bool:
        """From now on `charge` pays. False if its budgets have no room: then the work must end, and who began it pays for it."""
        old = reservation.charge
        self._keep(reservation, -reservation.reserved)
        try:
            fits = self._fits(charge, reservation.reserved, at=reservation.at)
        except BudgetExceeded:
            fits = False
        if fits:
            reservation.charge = charge
        self._keep(reservation, reservation.reserved)
        if fits and self._ledger is not None and reservation.number is not None:
            self._ledger.hand_over(reservation.number, charge).add_done_callback(_ignored)
        if fits and old.scopes != charge.scopes:
            self.reconsider()
        return fits

    def journal(self, reservation: Reservation, spent: int) -> None:
        """Notes what was spent so far, for the case that the hub is killed."""
        if self._ledger is not None and reservation.number is not None:
            self._ledger.journal(reservation.number, min(spent, reservation.reserved)).add_done_callback(_ignored)

    async def settle(self, reservation: Reservation, spent: Settlement) -> None:
        """Charges what was spent and gives back the rest. Once: a second call does nothing. Raises Storage."""
        written = self._settle(reservation, spent)
        if written is not None:
            await asyncio.shield(written)

    def _settle(self, reservation: Reservation, spent: Settlement) -> "asyncio.Future[bool] | None":
        """Settles in memory and orders the row, without waiting in between: whoever is cancelled leaves nothing half done."""
        if reservation.settled:
            return None
        reservation.charged = spent
        for scope in reservation.charge.scopes:
            self.account(scope).add(reservation.at, spent.units)
        number = reservation.number
        self._release(reservation)
        return None if number is None else self._write_settlement(Owed(number, self._clock(), spent))

    def _write_settlement(self, owed: Owed) -> "asyncio.Future[bool]":
        assert self._ledger is not None
        written = self._ledger.settle(*owed)

        def note(done: "asyncio.Future[bool]") -> None:
            if not done.cancelled() and done.exception() is not None:
                self._owed.append(owed)  # the disk is full, say: `look` tries again

        written.add_done_callback(note)
        return written

    # ---- the ledger -------------------------------------------------------------------------------------------------

    async def _opened(self) -> Ledger:
        """Raises Storage."""
        if self._ledger is None:
            await self._open()
        if self._ledger is None:
            raise self._no_ledger()
        return self._ledger

    def _no_ledger(self) -> Storage:
        failure = self._failure or self._passing
        assert failure is not None
        return failure

    async def rows(self, user: str | None, limit: int) -> list[LedgerRow]:
        """The newest charges, oldest first. Raises Storage."""
        where, values = ("payer = ?", (user,)) if user is not None else ("1", ())
        return [_row(row) for row in await (await self._opened()).rows(where, values, limit)]

    async def verify(self) -> Balance:
        """Checks the ledger. Raises Storage."""
        return await (await self._opened()).verify()

    async def rebuild(self) -> None:
        """Begins a new ledger with the sums that memory knows. Raises Storage."""
        known = {scope: dict(by_quarter) for scope, by_quarter in self.sums.items()}
        self._owed.clear()  # memory has it
        if self._ledger is not None:
            await self._ledger.rebuild(lambda: self.sums, self._open_rows, self.currency)
            return
        self._failure = None
        await self._open()  # what stood in the way may have passed
        if self._ledger is None:
            try:
                set_aside(self._path)
            except OSError as error:
                raise Storage.unwritten(self._path, error) from error
            self._failure = None
            await (await self._opened()).refill(known, self._open_rows(), self.currency)

    def _open_rows(self) -> list[OpenRow]:
        return [OpenRow(number, each.charge, each.at, each.reserved) for number, each in self._under_way.items()]

    @property
    def sums(self) -> dict[Scope, dict[int, int]]:
        """What memory knows of the ledger."""
        return {scope: account.by_quarter for scope, account in self._accounts.items()}


def _ignored(future: "asyncio.Future[int]") -> None:
    """A journal that cannot be written is told by the settlement, which follows."""
    if not future.cancelled():
        future.exception()


def _row(row: tuple[Any, ...]) -> LedgerRow:
    """The columns have the order of the fields."""
    values = dict(zip(LedgerRow.__struct_fields__, row, strict=True))
    for name in ("reserved", "settled", "tokens", "machine", "overhead"):
        values[name] = None if values[name] is None else money(values[name])
    return LedgerRow(**values | {"tags": json.loads(values["tags"])})
