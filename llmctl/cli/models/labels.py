"""The flags that `models add` and `pull` share: what a model is called, what it costs, and how it is set up.

It packs them as settings; what a setting means is the hub's to say.
"""

from collections.abc import Sequence
from typing import Annotated

from typer import Option

from llmctl.cli.console import flags

Alias = Annotated[list[str] | None, Option(help="Another name for it.")]
Tier = Annotated[str | None, Option(help="How good it is, and how dear.", metavar="premium|standard|economy")]
PriceIn = Annotated[str | None, Option(help="Money per million tokens of a prompt.", metavar="X")]
PriceCached = Annotated[str | None, Option(help="The same for tokens computed before.", metavar="X")]
PriceOut = Annotated[str | None, Option(help="The same for tokens of an answer.", metavar="X")]
Tag = Annotated[list[str] | None, Option(help="A word of yours about it.", metavar="T")]
Set = Annotated[list[str] | None, Option("--set", help="A setting of this model.", metavar="KEY=VALUE")]
Force = Annotated[bool, Option("--force", help="Replace a model of this name.")]


def labels(
    set: Sequence[str] | None,
    tier: str | None,
    price_in: str | None,
    price_cached: str | None,
    price_out: str | None,
    tags: Sequence[str] | None,
) -> dict[str, str]:
    """Settings as text; a flag of its own wins over `--set`."""
    import msgspec

    settings = flags.pairs("--set", set or ())
    for name in ("draft", "template"):  # the hub stands in another folder
        if name in settings:
            settings[name] = flags.absolute(settings[name])
    given = {"tier": tier, "price_in": price_in, "price_cached": price_cached, "price_out": price_out}
    settings |= {key: value for key, value in given.items() if value is not None}
    if tags:
        settings["tags"] = msgspec.json.encode(list(tags)).decode()
    return settings
