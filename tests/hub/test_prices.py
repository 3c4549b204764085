"""Prices: exact sums, each part of a cost, where a price comes from, and energy shared between requests."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from llmctld.models.catalogue.catalog import Catalog
from llmctld.money.pricing import energy, published
from llmctld.money.pricing.amounts import UNIT, money, units
from llmctld.money.pricing.energy import EnergyMeter
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.prices import Price, Use, bill, free

from llmctl.config import ModelSettings, Money
from llmctl.wire import TokenUsage
from tests.hub.scene import a_catalog

COUNTS = some.integers(0, 10**7)
PRICES = some.none() | some.decimals(0, 1000, places=7, allow_nan=False)


@given(some.integers(-(10**20), 10**20))
def test_amounts_are_exact(count: int) -> None:
    shown = money(count)
    assert Fraction(shown) * UNIT == count
    assert units(shown) == count


def test_a_part_of_a_unit_is_rounded_up() -> None:
    assert units(Fraction(1, 3)) == 333_333_333_334
    assert units(Decimal("1e-13")) == 1
    assert units(0) == 0


@given(COUNTS, COUNTS, COUNTS, PRICES, PRICES, PRICES)
def test_the_token_part_is_the_sum_of_tokens_times_prices(
    prompt: int, cached: int, completion: int, dear: Decimal | None, reused: Decimal | None, out: Decimal | None
) -> None:
    """Slow twin: the sum by hand, in fractions."""
    usage = TokenUsage(prompt, min(cached, prompt), completion)
    total = Price(per_input=dear, per_cached=reused, per_output=out).parts(Use(usage)).total
    of_cached = dear if reused is None else reused
    kinds = [(prompt - usage.cached_tokens, dear), (usage.cached_tokens, of_cached), (completion, out)]
    if (dear is None and out is None) or any(count and price is None for count, price in kinds):
        assert total is None
        return
    exact = sum((Fraction(price or 0) * count for count, price in kinds), Fraction()) / 10**6
    assert total is not None
    assert exact <= Fraction(total, UNIT) < exact + Fraction(1, UNIT)


HOUR = TokenUsage(1_000_000, 0, 1_000_000)


@pytest.mark.parametrize(
    ("price", "parts"),
    [
        (Price(per_input=Decimal(1), per_output=Decimal(2)), (3, None, 0)),
        (Price(per_hour=Decimal("0.5")), (None, "0.5", "0.05")),
        (Price(per_input=Decimal(1), per_output=Decimal(2), per_hour=Decimal("0.5")), (3, "0.5", "0.05")),
        (Price(per_hour=Decimal(2), overhead=Decimal("0.25")), (None, 2, "0.5")),
        (Price(per_input=Decimal(1), per_output=Decimal(1), overhead_on_tokens=True), (2, None, "0.2")),
        (
            Price(per_input=Decimal(1), per_output=Decimal(1), per_hour=Decimal(1), overhead_on_tokens=True),
            (2, 1, "0.3"),
        ),
        (Price(per_kwh=Decimal("0.40")), (None, "0.2", "0.02")),
        (Price(per_kwh=Decimal("0.40"), per_hour=Decimal(1)), (None, 1, "0.1")),
    ],
)
def test_the_parts_of_an_hour_with_a_million_tokens_each_way_and_half_a_kilowatt_hour(price: Price, parts: Any) -> None:
    """A token price stands beside machine time; the overhead is on machine time, and on tokens if the model says so."""
    found = price.parts(Use(HOUR, 3600.0, 1_800_000.0))
    assert found == tuple(None if part is None else units(Decimal(part)) for part in parts)
    cost = bill(price, Use(HOUR, 3600.0, 1_800_000.0))
    assert cost.priced
    assert cost.amount == sum(filter(None, (cost.parts.tokens, cost.parts.machine, cost.parts.overhead)), Decimal(0))


def test_a_model_without_a_price_is_unpriced_and_never_free_of_charge() -> None:
    for price in (Price(), Price(per_kwh=Decimal(1)), Price(per_input=Decimal(1))):  # no meter; no price for the answer
        for cost in (bill(price, Use(HOUR, 5.0)), free(price, Use(HOUR, 5.0))):
            assert (cost.amount, cost.priced, cost.saved, cost.parts.tokens) == (None, False, None, None)


def test_what_a_hit_saved() -> None:
    cost = free(Price(per_input=Decimal(1), per_output=Decimal(2), per_hour=Decimal("3.6")), Use(HOUR, 1.0))
    assert (cost.amount, cost.saved, cost.priced) == (Decimal(0), Decimal("3.0011"), True)


# ---- where a price comes from ---------------------------------------------------------------------------------------


def listed(folder: Path, money: Money, over: ModelSettings | None = None, **settings: str) -> Price:
    a_catalog(folder, e=settings)
    catalog = Catalog(folder / "models", {} if over is None else {"e": over})
    return PriceList(catalog, money).of(catalog.find("e"))


def test_machine_time_of_the_section_money_holds_where_a_model_has_no_token_price(tmp_path: Path) -> None:
    money = Money(machine_per_hour=Decimal(2), energy_per_kwh=Decimal(1), currency="EUR")
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    plain = listed(folders[0], money)
    assert (plain.per_hour, plain.per_kwh, plain.currency) == (Decimal(2), None, "EUR")
    assert plain.sources == {"machine_per_hour": "money.machine_per_hour"}
    by_token = listed(folders[1], money, price_in="1", price_out="2")
    assert (by_token.per_hour, by_token.sources) == (
        None, {"price_in": "set with the model", "price_out": "set with the model"},
    )  # fmt: skip
    both = listed(
        tmp_path, money, ModelSettings(price_in=Decimal(5)), price_in="1", price_out="2", machine_per_hour="3"
    )
    assert (both.per_input, both.per_output, both.per_hour) == (Decimal(5), Decimal(2), Decimal(3))
    assert both.sources["price_in"] == "models.e.price_in"


def test_energy_is_priced_where_machine_time_is_not(tmp_path: Path) -> None:
    price = listed(tmp_path, Money(energy_per_kwh=Decimal("0.3")))
    assert (price.per_kwh, price.sources) == (Decimal("0.3"), {"energy_per_kwh": "money.energy_per_kwh"})


def remote(folder: Path, money: Money, **settings: Any) -> Price:
    catalog = a_catalog(folder)
    catalog.add("gpt", "https://api.openai.com/v1", [], {"remote_model": "gpt-4o-mini", **settings}, False)
    return PriceList(catalog, money).of(catalog.find("gpt"))


def test_a_hosted_model_has_its_published_price_with_the_version_and_date_of_the_list(tmp_path: Path) -> None:
    price = remote(tmp_path, Money(machine_per_hour=Decimal(9)))
    assert (price.per_input, price.per_cached, price.per_output) == (Decimal("0.15"), Decimal("0.075"), Decimal("0.6"))
    assert price.per_hour is None, "an endpoint computes on another machine"
    assert price.sources["price_in"].startswith("genai-prices ")


def test_the_users_own_price_replaces_the_published_ones(tmp_path: Path) -> None:
    price = remote(tmp_path, Money(), price_in="7")
    assert (price.per_input, price.per_output) == (Decimal(7), None)


def test_published_prices_are_in_dollars(tmp_path: Path) -> None:
    assert remote(tmp_path, Money(currency="EUR")) == Price(currency="EUR")


def test_of_prices_by_length_the_dearest_counts() -> None:
    tiers = SimpleNamespace(
        base=Decimal(1), tiers=[SimpleNamespace(price=Decimal(2)), SimpleNamespace(price=Decimal("1.5"))]
    )
    assert published._highest(tiers) == 2


# ---- energy ---------------------------------------------------------------------------------------------------------


def test_energy_is_shared_between_requests_that_run_at_the_same_time() -> None:
    used, clock = [0.0], [0.0]
    meter = EnergyMeter([lambda: used[0]], lambda: clock[0])

    def later(joules: float) -> None:
        used[0] += joules
        clock[0] += 1

    later(100)  # before any request: nobody's
    first = meter.begin()
    later(10)
    second = meter.begin()
    later(10)
    assert first() == 15.0
    later(10)
    assert second() == 15.0
    later(50)
    third = meter.begin()
    later(1)
    assert third() == 1.0
    assert EnergyMeter().begin()() is None


def test_rapl_counters_wrap_and_zones_within_a_package_are_not_counted_twice(tmp_path: Path) -> None:
    def write(zone: str, value: int) -> None:
        (tmp_path / zone).mkdir(exist_ok=True)
        (tmp_path / zone / "energy_uj").write_text(f"{value}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000000\n")

    write("intel-rapl:0", 900_000)
    write("intel-rapl:0:0", 1)
    (tmp_path / "intel-rapl:1").mkdir()  # cannot be read, as for all but root
    (counter,) = energy.counters_of({energy.FOLDER: str(tmp_path)})
    assert counter() == 0
    write("intel-rapl:0", 950_000)
    assert counter() == pytest.approx(0.05)
    write("intel-rapl:0", 50_000)
    assert counter() == pytest.approx(0.15)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert counter() == pytest.approx(0.15)
