"""Who may spend how much: reserves an upper bound before work starts, and settles it to what was used, whatever happens.

Decisions are made in memory, without waiting between the look and the change, and kept in the ledger before work starts.
"""

import asyncio
import datetime
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmctl.errors import BudgetExceeded, Busy, Storage, Unreachable
from llmctl.wire import LedgerRow
from llmctld.money.amounts import money, units
from llmctld.money.budgets import Budget, Budgets
from llmctld.money.ledger import Balance, Charge, Ledger, Settlement, quarter
from llmctld.money.scopes import Scope
from llmctld.money.windows import KINDS, Window, window, zone_of
from llmctld.runtime.log import log
from llmctld.storage.files import set_aside
from llmctld.storage.loss import LossRule

MONTH_S = 32 * 86400
"""The longest window, and a day more for time zones."""
MINUTE_S = 60.0
REBUILD = "`llmctl budget ledger --rebuild` begins a new one with what is known; the old file is kept beside it."
REFUSES = "requests under a budget are refused until `llmctl budget ledger --rebuild`"


class Spending(NamedTuple):
    """A window of a budget. Amounts in units; `limit` None: unlimited."""

    limit: int | None
    spent: int
    reserved: int
    ends: float


class Account:
    """What one scope spent, and what of it is reserved."""

    def __init__(self, by_quarter: Mapping[int, int] = {}) -> None:
        self.by_quarter = dict(by_quarter)
        self.reserved = 0
        self.arrivals: deque[float] = deque()
        """Moments of the requests of the last minute, by a clock that does not jump."""
        self._sums: dict[Window, int] = {}

    def spent(self, within: Window) -> int:
        """What was spent in a window; summed anew when another one begins, or the clock is set."""
        if within not in self._sums:
            self._sums = {known: sum_ for known, sum_ in self._sums.items() if known.start <= within.start < known.end}
            first, last = quarter(within.start), quarter(within.end - 1)
            self._sums[within] = sum(units for at, units in self.by_quarter.items() if first <= at <= last)
        return self._sums[within]

    def add(self, at: float, spent: int) -> None:
        self.by_quarter[quarter(at)] = self.by_quarter.get(quarter(at), 0) + spent
        for within in self._sums:
            if within.start <= at < within.end:
                self._sums[within] += spent

    def forget(self, before: float) -> None:
        """Drops what no window reaches any more."""
        for at in [at for at in self.by_quarter if at < quarter(before)]:
            del self.by_quarter[at]


class Reservation:
    """An amount that is reserved until it is settled."""

    def __init__(self, accounts: "Accounts", charge: Charge, at: float, reserved: int) -> None:
        self._accounts = accounts
        self.charge, self.at, self.reserved = charge, at, reserved
        self.number: int | None = None
        """Of its row in the ledger; None where the ledger cannot be written and nobody involved has a limit."""
        self.settled = False


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
        """Why there is no ledger: then nobody who has a limit may spend."""
        self._opening = asyncio.Lock()
        self._accounts: dict[Scope, Account] = {}
        self._changed = asyncio.Condition()

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
                self._failure = Storage(f"the ledger cannot be used: {error.message}", REBUILD)
                self.news.append(f"{self._failure.message}; {REFUSES}")
                log.error("the ledger cannot be used", error=error.message)
                return
            self._ledger = ledger
            for scope, by_quarter in sums.items():
                self._accounts[scope] = Account(by_quarter)

    def look(self) -> None:
        """Notices that the ledger is lost (storage/watch.py)."""
        if self._ledger is not None:
            self._ledger.look()

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def account(self, scope: Scope) -> Account:
        return self._accounts.setdefault(scope, Account())

    # ---- what is left -----------------------------------------------------------------------------------------------

    def windows(self, scope: Scope) -> dict[str, Spending]:
        """The windows of a scope, by kind."""
        budget, account, now = self.budgets.of(scope) or Budget(), self.account(scope), self._clock()
        zone = zone_of(budget.zone)
        found = {}
        for kind in KINDS:
            limit, within = budget.limit(kind, now), window(kind, now, zone)
            found[kind] = Spending(
                None if limit is None else units(limit), account.spent(within), account.reserved, within.end
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
            arrivals = self.account(scope).arrivals
            while arrivals and arrivals[0] <= now - MINUTE_S:
                arrivals.popleft()
            if len(arrivals) >= rpm:
                wait = arrivals[-rpm] + MINUTE_S - now
                raise Busy(
                    f"{scope} may send {rpm} requests a minute, and has; the next one is taken in {wait:.0f} s",
                    f"Wait, or raise the limit: `llmctl budget set {scope} --rpm N`.",
                )
        for scope, _ in limited:
            self.account(scope).arrivals.append(now)

    async def reserve(self, charge: Charge, bound: int) -> Reservation:
        """Reserves `bound` units. Waits while only reservations of others stand in the way.

        Raises BudgetExceeded, and Storage if a limit holds and the ledger cannot be written.
        """
        self.budgets.check()
        if self._ledger is None:
            await self._open()
        if self._failure is not None and self.limited(charge.scopes):
            raise self._failure
        async with self._changed:
            while not self._fits(charge, bound):
                await self._changed.wait()
            reservation = self._hold(charge, bound)
        if self._ledger is None:
            return reservation
        reservation.number = self._ledger.next_number()
        opened = self._ledger.reserve(reservation.number, charge, reservation.at, bound, self.currency)
        try:
            await asyncio.shield(opened)
        except Storage as error:
            reservation.number = None
            if self.limited(charge.scopes):
                await self._release(reservation)
                raise
            log.error("an amount could not be reserved in the ledger", error=error.message)
        except BaseException:  # the row may be there
            opened.add_done_callback(_ignored)
            await asyncio.shield(self.settle(reservation, Settlement(0)))
            raise
        return reservation

    def _hold(self, charge: Charge, bound: int) -> Reservation:
        for scope in charge.scopes:
            self.account(scope).reserved += bound
        return Reservation(self, charge, self._clock(), bound)

    async def _release(self, reservation: Reservation) -> None:
        """Without a settlement: nothing was written, or it is settled at once."""
        reservation.settled = True
        for scope in reservation.charge.scopes:
            self.account(scope).reserved -= reservation.reserved
        async with self._changed:
            self._changed.notify_all()

    def _fits(self, charge: Charge, bound: int, mine: int = 0) -> bool:
        """Whether the amount fits now; False if it may fit once others settle. `mine`: what of the reserved amounts is the same
        request's. Raises BudgetExceeded if it fits in no case.
        """
        waits = False
        for scope in self.limited(charge.scopes):
            for kind, found in self.windows(scope).items():
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
        charge = reservation.charge
        try:
            if not self._fits(charge, more, reservation.reserved):
                return False
        except BudgetExceeded:
            return False
        for scope in charge.scopes:
            self.account(scope).reserved += more
        reservation.reserved += more
        if self._ledger is not None and reservation.number is not None:
            self._ledger.reserve_more(reservation.number, more).add_done_callback(_ignored)
        return True

    def hand_over(self, reservation: Reservation, charge: Charge) -> bool:
        """From now on `charge` pays. False if its budgets have no room: then the work must end."""
        old, reservation.charge = reservation.charge, charge
        for scope in old.scopes:
            self.account(scope).reserved -= reservation.reserved
        try:
            fits = self._fits(charge, reservation.reserved)
        except BudgetExceeded:
            fits = False
        for scope in charge.scopes:
            self.account(scope).reserved += reservation.reserved
        if self._ledger is not None and reservation.number is not None:
            self._ledger.hand_over(reservation.number, charge).add_done_callback(_ignored)
        return fits

    def journal(self, reservation: Reservation, spent: int) -> None:
        """Notes what was spent so far, for the case that the hub is killed."""
        if self._ledger is not None and reservation.number is not None:
            self._ledger.journal(reservation.number, min(spent, reservation.reserved)).add_done_callback(_ignored)

    async def settle(self, reservation: Reservation, spent: Settlement) -> None:
        """Charges what was spent and gives back the rest. Once: a second call does nothing. Raises Storage."""
        if reservation.settled:
            return
        for scope in reservation.charge.scopes:
            self.account(scope).add(reservation.at, spent.units)
        await self._release(reservation)
        if self._ledger is not None and reservation.number is not None:
            await self._ledger.settle(reservation.number, self._clock(), spent)

    async def reconsider(self) -> None:
        """A budget has changed: what waits is decided again."""
        async with self._changed:
            self._changed.notify_all()

    # ---- the ledger -------------------------------------------------------------------------------------------------

    async def _opened(self) -> Ledger:
        """Raises Storage."""
        if self._ledger is None:
            await self._open()
        if self._ledger is None:
            assert self._failure is not None
            raise self._failure
        return self._ledger

    async def rows(self, user: str | None, limit: int) -> list[LedgerRow]:
        """The newest charges, oldest first. Raises Storage."""
        where, values = ("payer = ?", (user,)) if user is not None else ("1", ())
        return [_row(row) for row in await (await self._opened()).rows(where, values, limit)]

    async def verify(self) -> Balance:
        """Checks the ledger. Raises Storage."""
        return await (await self._opened()).verify()

    async def rebuild(self) -> None:
        """Begins a new ledger with the sums that memory knows. Raises Storage."""
        self._failure = None
        if self._ledger is None:
            set_aside(self._path)
            await self._opened()
        else:
            await self._ledger.rebuild(self.sums)

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
