"""The prices of each model, and where each comes from: its settings, the section `money`, a published list.

It multiplies nothing; prices.py does.
"""

from llmctl.config import ModelEntry, ModelSettings, Money
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import REMOTE
from llmctld.money.pricing.prices import OVERHEAD, Price
from llmctld.money.pricing.published import CURRENCY, published

TOKEN_PRICES = {"price_in": "per_input", "price_cached": "per_cached", "price_out": "per_output"}
IN_EFFECT = {**TOKEN_PRICES, "machine_per_hour": "per_hour", "energy_per_kwh": "per_kwh"}
"""Setting -> field of a Price."""


class PriceList:
    """The prices of all models."""

    def __init__(self, catalog: Catalog, money: Money) -> None:
        self._catalog, self._money = catalog, money
        self._prices: dict[str, tuple[ModelSettings, Price]] = {}

    @property
    def currency(self) -> str:
        return self._money.currency

    def of(self, entry: ModelEntry) -> Price:
        """The prices of a model. Worked out once for each change of its settings."""
        settings = self._catalog.settings(entry)
        kept = self._prices.get(entry.name)
        if kept is None or kept[0] is not settings:
            kept = self._prices[entry.name] = (settings, self._work_out(entry, settings))
        return kept[1]

    def _work_out(self, entry: ModelEntry, settings: ModelSettings) -> Price:
        values, sources = {}, {}
        configured = self._catalog.configured(entry.name)
        for setting, name in TOKEN_PRICES.items():
            if (price := getattr(settings, setting)) is not None:
                values[name] = price
                sources[setting] = _origin(entry, setting, configured)
        if not values:
            values, sources = self._published(entry, settings)
        has_tokens = bool(values)
        if settings.machine_per_hour is not None:
            values["per_hour"] = settings.machine_per_hour
            sources["machine_per_hour"] = _origin(entry, "machine_per_hour", configured)
        elif entry.backend != REMOTE and not has_tokens:
            for setting, name in (("machine_per_hour", "per_hour"), ("energy_per_kwh", "per_kwh")):
                if (price := getattr(self._money, setting)) is not None:
                    values[name], sources[setting] = price, f"money.{setting}"
                    break
        return Price(
            **values, overhead=OVERHEAD if settings.overhead is None else settings.overhead,
            overhead_on_tokens=settings.overhead_on == "all", currency=self.currency, sources=sources,
        )  # fmt: skip

    def _published(self, entry: ModelEntry, settings: ModelSettings) -> tuple[dict[str, object], dict[str, str]]:
        """What a published list says of a hosted model, if it is in the currency of the configuration."""
        if entry.backend != REMOTE or self.currency != CURRENCY:
            return {}, {}
        found = published(entry.target, settings.remote_model or entry.name)
        if found is None:
            return {}, {}
        given = {setting: getattr(found, name) for setting, name in TOKEN_PRICES.items()}
        given = {setting: price for setting, price in given.items() if price is not None}
        return {TOKEN_PRICES[setting]: price for setting, price in given.items()}, dict.fromkeys(given, found.source)


def _origin(entry: ModelEntry, setting: str, configured: frozenset[str]) -> str:
    return f"models.{entry.name}.{setting}" if setting in configured else "set with the model"
