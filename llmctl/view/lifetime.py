"""The lines of `cache show` about the lifetime of an answer, and the reason for it."""

from typing import Any

from llmctl.view.units import span

WHY = {
    "fixed": "fixed by cache.ttl",
    "start": 'initial estimate for the kind "{kind}", no observations yet',
    "learned": 'predicted for the kind "{kind}" from {count} recomputations',
}


def lines(found: dict[str, Any]) -> list[list[str]]:
    """Rows of a table of two columns."""
    if not found:
        return []
    why = WHY[found["from"]].format(kind=found["kind"], count=found["kind_observations"])
    rows = [["lifetime", f"{span(found['seconds'])}, {why}"], ["served for", f"{span(found['left_s'])} more"]]
    if found["probe_s"]:
        rows.append(["", f"computed again after {span(found['probe_s'])}, to learn how such answers change"])
    for one in found["observations"]:
        verdict = "had changed" if one["changed"] else "had not changed"
        rows.append(["computed again", f"after {span(one['age_s'])}: the answer {verdict}"])
    return rows
