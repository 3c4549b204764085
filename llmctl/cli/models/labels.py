"""What `models add` and `pull` share: options for names, prices and settings, and the report of the added model.

The options become settings as text; the hub checks what they mean.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from llmctl.cli.console import flags, out
from llmctl.cli.console.help import option

if TYPE_CHECKING:
    from llmctl import wire

NAMES = "Name and labels"
PRICES = "Prices"
SETTINGS = "Settings"
ENDPOINT = "For endpoints"

Alias = Annotated[list[str] | None, option(NAMES, help="Another name for the model. Repeatable.", metavar="NAME")]
Tier = Annotated[
    str | None, option(PRICES, help="Quality and price class: premium, standard or economy.", metavar="TIER")
]
PriceIn = Annotated[str | None, option(PRICES, help="Price per million prompt tokens.", metavar="X")]
PriceCached = Annotated[
    str | None, option(PRICES, help="Price per million prompt tokens found in the provider's cache.", metavar="X")
]
PriceOut = Annotated[str | None, option(PRICES, help="Price per million generated tokens.", metavar="X")]
Tag = Annotated[list[str] | None, option(NAMES, help="Label for the model. Repeatable.", metavar="T")]
Set = Annotated[
    list[str] | None, option(SETTINGS, "--set", help="Set a setting of this model. Repeatable.", metavar="KEY=VALUE")
]
Force = Annotated[bool, option(NAMES, "--force", help="Replace an existing model of this name.")]


def labels(
    set: Sequence[str] | None,
    tier: str | None,
    price_in: str | None,
    price_cached: str | None,
    price_out: str | None,
    tags: Sequence[str] | None,
) -> dict[str, str]:
    """The settings as text; an option of its own wins over `--set`."""
    import msgspec

    settings = with_full_paths(flags.pairs("--set", set or ()))
    given = {"tier": tier, "price_in": price_in, "price_cached": price_cached, "price_out": price_out}
    settings |= {key: value for key, value in given.items() if value is not None}
    if tags:
        settings["tags"] = msgspec.json.encode(list(tags)).decode()
    return settings


def with_full_paths(settings: dict[str, str]) -> dict[str, str]:
    """The settings with the paths among them made absolute, since the hub runs in another folder."""
    paths = {name: flags.absolute(settings[name]) for name in ("draft", "template") if name in settings}
    return settings | paths


def report(model: "wire.Model") -> None:
    """Prints the model that was added."""
    from llmctl.view.models import added

    if out.Mode.json:
        out.json_line(added(model))
    else:
        use = "embed" if model.kind == "embedding" else "ask"
        out.notice(f"added model {model.name}; use it with `llmctl {use} -m {model.name} ...`")
