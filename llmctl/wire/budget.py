"""Messages about money: budgets, what is left of them, and the ledger."""

from decimal import Decimal
from typing import Any

import msgspec

from llmctl.wire.message import Plain, Result


class SetBudget(Plain, kw_only=True, tag="set_budget"):
    """Changes the given limits of a budget. -> `budget_shown`"""

    scope: str
    """`USER`, `@GROUP`, `model:NAME` or `tag:NAME`"""
    changes: dict[str, Any]
    """name of a limit -> its value, null: none. Amounts are decimal numbers as text. Names: `members`, `daily`, `weekly`,
    `monthly`, `rpm`, `zone`, `raise`"""


class ShowBudget(Plain, kw_only=True, tag="show_budget"):
    """What is left of a budget. -> `budget_shown`"""

    scope: str
    """as in `set_budget`"""


class ListBudgets(Plain, kw_only=True, tag="list_budgets"):
    """All budgets. -> `budgets`"""


class RemoveBudget(Plain, kw_only=True, tag="remove_budget"):
    """Removes a budget; what was spent stays in the ledger. -> `nothing`"""

    scope: str
    """as in `set_budget`"""


class ReadLedger(Plain, kw_only=True, tag="read_ledger"):
    """The newest charges. -> `ledger_rows`"""

    user: str | None = None
    """only those of this user"""
    limit: int = 1000
    """most rows"""


class VerifyLedger(Plain, kw_only=True, tag="verify_ledger"):
    """Checks every charge and every sum. -> `ledger_balance`"""


class RebuildLedger(Plain, kw_only=True, tag="rebuild_ledger"):
    """Begins a new ledger with the sums that the hub knows, after one was lost or damaged. -> `ledger_balance`"""


class BudgetWindow(msgspec.Struct, omit_defaults=False):
    """A window of a budget. Amounts in the configured currency."""

    limit: Decimal | None
    """null: unlimited"""
    spent: Decimal
    reserved: Decimal
    """of requests that are under way"""
    remaining: Decimal | None
    """limit - spent - reserved, at least 0"""
    ratio: float | None
    """spent / limit"""
    resets_at: str
    """ISO 8601, in the budget's time zone"""


class BudgetShown(Result, kw_only=True, tag="budget_shown", omit_defaults=False):
    """A budget and what is left of it."""

    user: str
    """the scope: `USER`, `@GROUP`, `model:NAME` or `tag:NAME`"""
    available: Decimal | None
    """the least that remains in any window; null: unlimited"""
    currency: str
    windows: dict[str, BudgetWindow]
    """`daily`, `weekly`, `monthly`"""
    members: list[str]
    """of a group"""
    rpm: int | None
    """requests a minute"""
    zone: str | None
    """time zone of the windows; null: that of the machine"""
    raised: Decimal | None
    """added to each limit"""
    raised_until: str | None
    """ISO 8601"""


class BudgetList(Result, kw_only=True, tag="budgets", omit_defaults=False):
    """All budgets, by scope."""

    budgets: list[BudgetShown]


class LedgerRow(msgspec.Struct, omit_defaults=False):
    """A charge."""

    number: int
    request: str
    """id of the request"""
    at: float
    """seconds since 1970"""
    user: str
    """who pays"""
    model: str
    tags: list[str]
    purpose: str
    """what the request was for"""
    run: str | None
    """id of the workflow run, agent run or batch job"""
    currency: str
    reserved: Decimal
    settled: Decimal | None
    """null: under way"""
    ended: float | None
    mark: str
    """`over`: an endpoint counted more than was reserved; `recovered`: the hub was killed before it settled"""
    tokens: Decimal | None
    """the part for tokens"""
    machine: Decimal | None
    """the part for machine time or energy"""
    overhead: Decimal | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None


class LedgerRows(Result, kw_only=True, tag="ledger_rows", omit_defaults=False):
    """Charges, oldest first."""

    rows: list[LedgerRow]


class LedgerBalance(Result, kw_only=True, tag="ledger_balance", omit_defaults=False):
    """What the check of the ledger found."""

    balances: bool
    charges: int
    open: int
    """charges that are under way"""
    reserved: Decimal
    """of those"""
    settled: Decimal
    over: int
    """charges marked `over`"""
    recovered: int
    """charges marked `recovered`"""
    currency: str
    wrong: list[str]
    """what does not balance, a sentence each"""
