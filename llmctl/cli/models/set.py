"""`llmctl models set`: settings and aliases of a model that was added.

It parses KEY=VALUE; the hub checks the values, writes them and says when they take effect.
"""

from collections.abc import Sequence
from typing import Annotated

from typer import Argument, Option

from llmctl.cli.console import flags, out
from llmctl.cli.models.labels import with_full_paths
from llmctl.errors import Usage, short

EXAMPLES = """
llmctl models set story context=4096 temperature=0.2
llmctl models set story --unset context
llmctl models set story --alias s
"""


def change(
    name: Annotated[str, Argument(help="Name or alias of a model.", metavar="NAME")],
    items: Annotated[
        list[str] | None,
        Argument(metavar="[KEY=VALUE]...", help="Settings and their new values, as of `models add --set`."),
    ] = None,
    unset: Annotated[
        list[str] | None, Option(help="Remove a setting, so that its default applies. Repeatable.", metavar="KEY")
    ] = None,
    alias: Annotated[list[str] | None, Option(help="Add another name. Repeatable.", metavar="NAME")] = None,
    unalias: Annotated[list[str] | None, Option(help="Remove another name. Repeatable.", metavar="NAME")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Change settings or aliases of a model.

    `models show NAME` lists them. A loaded model is loaded again by the next request. Settings in [models.NAME] of the
    configuration take precedence.
    """
    from llmctl import wire
    from llmctl.view.models import added

    if not (items or unset or alias or unalias):
        hint = f"`llmctl models set {name} KEY=VALUE` sets one; `llmctl models show {name}` lists them."
        raise Usage("nothing to change was given", hint)
    request = wire.SetModel(
        name=name,
        settings=with_full_paths(_pairs(name, items or ())),
        unset=unset or [],
        aliases=alias or [],
        dropped=unalias or [],
    )
    model = flags.call(request, wire.Model)
    if json:
        out.json_line(added(model))
    else:
        out.notice(f"changed model {model.name}; `llmctl models show {model.name}` shows its settings")


def _pairs(name: str, items: Sequence[str]) -> dict[str, str]:
    """Raises Usage for an item without a value."""
    for item in items:
        if "=" not in item[1:]:
            hint = f"Write it as `llmctl models set {name} KEY=VALUE`; `--unset KEY` removes a setting."
            raise Usage(f"{short(item)!r} is not KEY=VALUE", hint)
    return flags.pairs("KEY=VALUE", items)
