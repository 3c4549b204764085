"""Who handles which message, in two tables: CALLS says which requests go through the pipeline, HANDLERS who answers each.

docs/architecture.md, "Recipes", tells how to add one. `Cancel` and `Ack` have no handler: the server acts on them at once.
"""

from collections.abc import Callable
from typing import Any

from llmctl import wire
from llmctld.call.call import Call
from llmctld.handlers import budget, cache, daemon, generate, history, models
from llmctld.handlers.hub import Handler

CALLS: dict[type[wire.Request], Callable[[str, Any], Call]] = {
    wire.Generate: generate.call_of_generate,
    wire.Warm: generate.call_of_warm,
}
"""Requests that go through the pipeline -> how their Call is made. Their handlers take the Call in place of the request."""

HANDLERS: dict[type[wire.Request], Handler[Any]] = {
    wire.Generate: generate.generate,
    wire.Warm: generate.warm,
    wire.Embed: generate.embed,
    wire.Status: daemon.status,
    wire.Ps: daemon.ps,
    wire.Stop: daemon.stop,
    wire.AddModel: models.add_model,
    wire.PullModel: models.pull_model,
    wire.EstimateModel: models.estimate_model,
    wire.DescribeFiles: models.describe_files,
    wire.RemoveModel: models.remove_model,
    wire.LoadModel: models.load_model,
    wire.SetModel: models.set_model,
    wire.PinModel: models.pin_model,
    wire.UnloadModel: models.unload_model,
    wire.GetCacheStats: cache.cache_stats,
    wire.ListCache: cache.list_cache,
    wire.ShowCache: cache.show_cache,
    wire.ClearCache: cache.clear_cache,
    wire.AuditCache: cache.audit_cache,
    wire.UndoHit: cache.undo_hit,
    wire.Undo: history.undo,
    wire.SetBudget: budget.set_budget,
    wire.ShowBudget: budget.show_budget,
    wire.ListBudgets: budget.list_budgets,
    wire.RemoveBudget: budget.remove_budget,
    wire.ReadLedger: budget.read_ledger,
    wire.VerifyLedger: budget.verify_ledger,
    wire.RebuildLedger: budget.rebuild_ledger,
}


def call_of(id: str, request: wire.Request) -> Call | None:
    """The Call of a request that goes through the pipeline; None for the others."""
    make = CALLS.get(type(request))
    return None if make is None else make(id, request)
