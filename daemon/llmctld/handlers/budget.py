"""Requests about money: budgets and the ledger."""

import datetime
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from llmctl import wire
from llmctl.errors import InvalidRequest, NotFound, nearest, short
from llmctld.handlers.hub import Hub, Tell
from llmctld.money.pricing.amounts import money
from llmctld.money.spending.account import Spending
from llmctld.money.spending.accounts import Accounts
from llmctld.money.spending.budgets import LIMITS, Budget, Raise
from llmctld.money.spending.ledger import Balance
from llmctld.money.spending.scopes import Scope, parse_scope
from llmctld.money.spending.windows import zone_of


async def set_budget(hub: Hub, request: wire.SetBudget, tell: Tell) -> wire.BudgetShown:
    scope, changes = parse_scope(request.scope), _changes(request.changes)
    hub.accounts.budgets.set(scope, changes)
    hub.accounts.reconsider()
    return shown(hub.accounts, scope)


async def show_budget(hub: Hub, request: wire.ShowBudget, tell: Tell) -> wire.BudgetShown:
    return shown(hub.accounts, parse_scope(request.scope))


async def list_budgets(hub: Hub, request: wire.ListBudgets, tell: Tell) -> wire.BudgetList:
    return wire.BudgetList(budgets=[shown(hub.accounts, scope) for scope in sorted(hub.accounts.budgets.all())])


async def remove_budget(hub: Hub, request: wire.RemoveBudget, tell: Tell) -> wire.Nothing:
    scope = parse_scope(request.scope)
    if not hub.accounts.budgets.remove(scope):
        raise NotFound(f"{scope} has no budget", nearest(str(scope), map(str, hub.accounts.budgets.all())))
    hub.accounts.reconsider()
    return wire.Nothing()


async def read_ledger(hub: Hub, request: wire.ReadLedger, tell: Tell) -> wire.LedgerRows:
    return wire.LedgerRows(rows=await hub.accounts.rows(request.user, request.limit))


async def verify_ledger(hub: Hub, request: wire.VerifyLedger, tell: Tell) -> wire.LedgerBalance:
    return _balance(hub.accounts, await hub.accounts.verify())


async def rebuild_ledger(hub: Hub, request: wire.RebuildLedger, tell: Tell) -> wire.LedgerBalance:
    await hub.accounts.rebuild()
    return _balance(hub.accounts, await hub.accounts.verify())


def shown(accounts: Accounts, scope: Scope) -> wire.BudgetShown:
    budget = accounts.budgets.of(scope) or Budget()
    zone = zone_of(budget.zone)
    windows = {kind: _window(found, zone) for kind, found in accounts.windows(scope).items()}
    left = [window.remaining for window in windows.values() if window.remaining is not None]
    raised = budget.raised
    return wire.BudgetShown(
        user=str(scope), available=min(left, default=None), currency=accounts.currency, windows=windows,
        members=budget.members, rpm=budget.rpm, zone=budget.zone, raised=None if raised is None else raised.amount,
        raised_until=None if raised is None else _iso(raised.until, zone),
    )  # fmt: skip


def _window(found: Spending, zone: datetime.tzinfo) -> wire.BudgetWindow:
    limited = found.limit is not None
    return wire.BudgetWindow(
        limit=money(found.limit) if found.limit is not None else None, spent=money(found.spent),
        reserved=money(found.reserved),
        remaining=money(max(0, found.limit - found.spent - found.reserved)) if found.limit is not None else None,
        ratio=round(found.spent / found.limit, 6) if limited and found.limit else None,
        resets_at=_iso(found.ends, zone),
    )  # fmt: skip


def _iso(at: float, zone: datetime.tzinfo) -> str:
    return datetime.datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def _balance(accounts: Accounts, found: Balance) -> wire.LedgerBalance:
    return wire.LedgerBalance(
        balances=not found.wrong, charges=found.charges, open=found.open, reserved=money(found.reserved),
        settled=money(found.settled), over=found.over, recovered=found.recovered, currency=accounts.currency, wrong=found.wrong,
    )  # fmt: skip


# ---- changes ---------------------------------------------------------------------------------------------------------


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Budget. Raises InvalidRequest."""
    unknown = given.keys() - _READERS.keys()
    if unknown:
        raise InvalidRequest(f"{short(sorted(unknown)[0])!r} is no limit of a budget", nearest("", _READERS))
    fields = {}
    for name, value in given.items():
        field, read = _READERS[name]
        try:
            fields[field] = read(value)
        except (InvalidOperation, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"{name} is {short(str(value))!r}, which is no {_NOUNS.get(name, 'amount')}"
            ) from error
    return fields


def _amount(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _raise(value: Any) -> Raise | None:
    return None if value is None else Raise(Decimal(str(value["amount"])), float(value["until"]))


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{kind: (kind, _amount) for kind in LIMITS},
    "members": ("members", lambda value: [str(name) for name in value or []]),
    "rpm": ("rpm", lambda value: None if value is None else int(value)),
    "zone": ("zone", lambda value: None if value is None else str(value)),
    "raise": ("raised", _raise),
}
_NOUNS = {"rpm": "whole number"}
