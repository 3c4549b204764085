"""The budgets that were set, by scope, in one file that is written whole. It knows limits, not what was spent."""

import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from llmctl.config.amounts import RANGE, is_amount
from llmctl.errors import InvalidRequest, Storage
from llmctl.files import write_whole
from llmctld.money.spending.scopes import Scope
from llmctld.money.spending.windows import KINDS, zone_of

LIMITS = KINDS
"""The fields of a Budget that are amounts for a window, shortest window first."""


class Raise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Added to each limit until a moment (seconds since 1970)."""

    amount: Decimal
    until: float


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The limits of one scope. None: unlimited."""

    members: list[str] = []
    """Users of a group."""
    daily: Decimal | None = None
    weekly: Decimal | None = None
    monthly: Decimal | None = None
    rpm: int | None = None
    """Requests a minute."""
    zone: str | None = None
    """Time zone of the windows. None: that of the machine."""
    raised: Raise | None = None

    def limit(self, kind: str, now: float) -> Decimal | None:
        """The limit of a window, with what it is raised by at the moment."""
        limit: Decimal | None = getattr(self, kind)
        if limit is None or self.raised is None or now >= self.raised.until:
            return limit
        return limit + self.raised.amount


class Budgets:
    """All budgets."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failure: Storage | None = None
        """Why the file cannot be read: then nobody may spend, since nobody knows who has a limit."""
        self._budgets = self._read()

    def _read(self) -> dict[Scope, Budget]:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, Budget]])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            hint = f"Restore {self._path}, or remove it, which ends all budgets; then run `llmctl daemon restart`."
            self.failure = Storage(f"the budgets cannot be read: {self._path}: {error}", hint)
            return {}
        return {Scope(kind, name): budget for kind, named in kept.items() for name, budget in named.items()}

    def __bool__(self) -> bool:
        return bool(self._budgets)

    def all(self) -> Mapping[Scope, Budget]:
        return self._budgets

    def of(self, scope: Scope) -> Budget | None:
        return self._budgets.get(scope)

    def groups_of(self, users: Iterable[str]) -> list[Scope]:
        """The groups that one of the users is a member of."""
        wanted = set(users)
        return [
            scope for scope, budget in self._budgets.items() if scope.kind == "group" and wanted & set(budget.members)
        ]

    def set(self, scope: Scope, changes: Mapping[str, Any], now: Callable[[], float] = time.time) -> Budget:
        """Changes the given fields. Raises InvalidRequest, and Storage if it cannot be kept; then nothing changes."""
        budget = checked(scope, msgspec.structs.replace(self._budgets.get(scope, Budget()), **changes), now())
        self._keep({**self._budgets, scope: budget})
        return budget

    def remove(self, scope: Scope) -> bool:
        """Whether there was one. Raises Storage."""
        rest = {kept: budget for kept, budget in self._budgets.items() if kept != scope}
        if len(rest) == len(self._budgets):
            return False
        self._keep(rest)
        return True

    def check(self) -> None:
        """Raises Storage if the budgets are not known."""
        if self.failure is not None:
            raise self.failure

    def _keep(self, budgets: dict[Scope, Budget]) -> None:
        self.check()
        named: dict[str, dict[str, Budget]] = {}
        for scope, budget in budgets.items():
            named.setdefault(scope.kind, {})[scope.name] = budget
        try:
            write_whole(self._path, msgspec.json.format(msgspec.json.encode(named), indent=2), sync=True)
        except OSError as error:
            raise Storage.unwritten(self._path, error) from error
        self._budgets = budgets


def checked(scope: Scope, budget: Budget, now: float) -> Budget:
    """The budget. Raises InvalidRequest for values that cannot be."""
    zone_of(budget.zone)
    if budget.members and scope.kind != "group":
        raise InvalidRequest(f"{scope} has no members", f"A group is written @NAME: `llmctl budget set @{scope.name}`.")
    limits = [(kind, getattr(budget, kind)) for kind in LIMITS if getattr(budget, kind) is not None]
    for kind, limit in limits:
        if not is_amount(limit):
            raise InvalidRequest(f"{kind} is {limit}; it must be {RANGE}", "`none` removes a limit.")
    for (short, less), (long, more) in pairwise(limits):
        if less > more:
            raise InvalidRequest(
                f"{short} is {less} and {long} is {more}", f"The {short} limit must not exceed the {long} one."
            )
    if budget.rpm is not None and budget.rpm < 1:
        raise InvalidRequest(f"rpm is {budget.rpm}; it must be 1 or more", "`none` removes the limit.")
    raised = budget.raised
    if raised is not None and not (is_amount(raised.amount) and raised.amount):
        raise InvalidRequest(
            f"raise is {raised.amount}; it must be above 0, and {RANGE}", "`--raise none` ends a raise."
        )
    if raised is not None and raised.until <= now:
        raise InvalidRequest("until is in the past", "Name a moment to come.")
    return budget
