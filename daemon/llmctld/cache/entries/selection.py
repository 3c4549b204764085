"""Selects entries of the cache by their metadata: an SQL condition for the book."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class EntryFilter(NamedTuple):
    """Conditions, all of which must hold. `older`, `newer`: seconds of age."""

    model: str | None = None
    user: str | None = None
    tags: Sequence[str] = ()
    older: float | None = None
    newer: float | None = None

    def sql(self) -> tuple[str, list[Any]]:
        """The SQL condition and its values."""
        now = time.time()
        parts = [
            ("model = ?", self.model),
            ("user = ?", self.user),
            *(("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)", tag) for tag in self.tags),
            ("created <= ?", None if self.older is None else now - self.older),
            ("created >= ?", None if self.newer is None else now - self.newer),
        ]
        given = [(condition, value) for condition, value in parts if value is not None]
        return " AND ".join(["held", *(condition for condition, _ in given)]), [value for _, value in given]

    @property
    def everything(self) -> bool:
        return not any(part is not None and part != () and part != [] for part in self)
