"""`budget show`, `ls` and `ledger` as tables."""

import time
from collections.abc import Iterable
from decimal import Decimal

from llmctl import wire
from llmctl.errors import counted
from llmctl.view.units import or_dash, share

Table = tuple[list[str], list[list[str]]]


def amount(value: Decimal | None) -> str:
    return or_dash(None if value is None else f"{value:f}")


def one(found: wire.BudgetShown) -> Table:
    rows = [
        [kind, amount(it.limit), amount(it.spent), amount(it.reserved), amount(it.remaining),
         or_dash(None if it.ratio is None else share(it.ratio)), it.resets_at]
        for kind, it in found.windows.items()
    ]  # fmt: skip
    return ["WINDOW", "LIMIT", "SPENT", "RESERVED", "LEFT", "USED", "RESETS"], rows


def about(found: wire.BudgetShown) -> str:
    """What the table does not say."""
    left = "unlimited" if found.available is None else f"{found.available:f} {found.currency} available"
    parts = [
        f"{found.user}: {left}",
        *([f"{counted(found.rpm, 'request')} a minute"] if found.rpm else []),
        *([f"members {', '.join(found.members)}"] if found.members else []),
        *([f"raised by {found.raised:f} until {found.raised_until}"] if found.raised is not None else []),
    ]
    return ", ".join(parts)


def several(found: Iterable[wire.BudgetShown]) -> Table:
    rows = [
        [it.user, *(f"{amount(it.windows[kind].spent)} of {amount(it.windows[kind].limit)}" for kind in it.windows),
         or_dash(it.rpm), amount(it.available), it.currency]
        for it in found
    ]  # fmt: skip
    return ["WHO", "DAILY", "WEEKLY", "MONTHLY", "RPM", "LEFT", "CURRENCY"], rows


def ledger(rows: Iterable[wire.LedgerRow]) -> Table:
    lines = [
        [str(row.number), time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at)), row.user, row.model, row.purpose,
         amount(row.reserved), "under way" if row.settled is None else amount(row.settled), row.currency, row.mark or "-"]
        for row in rows
    ]  # fmt: skip
    return ["NUMBER", "AT", "USER", "MODEL", "FOR", "RESERVED", "SETTLED", "CURRENCY", "MARK"], lines


def balance(found: wire.LedgerBalance) -> str:
    state = "the ledger balances" if found.balances else "the ledger does not balance"
    counts = f"{counted(found.charges, 'charge')}, {found.settled:f} {found.currency} settled, {found.open} under way"
    return f"{state}: {counts} ({found.reserved:f} reserved), {found.over} over, {found.recovered} recovered"
