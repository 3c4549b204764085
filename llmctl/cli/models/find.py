"""`llmctl models find`: models that other programs left on this machine, and adding them where they are.

The command looks through the stores; the hub reads the headers and knows what fits.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from llmctl.cli.console import flags, out
from llmctl.errors import InvalidRequest, LlmctlError, ModelUnavailable, NotFound, Usage, nearest

if TYPE_CHECKING:
    from llmctl.config import ModelEntry
    from llmctl.stores.stored import StoredModel
    from llmctl.view.found import FoundModel

NOTICES = 5
"""Files that are skipped and named; the others are counted."""


def find(
    names: Annotated[
        list[str] | None, Argument(help="Only models with these names; * and ? match any text.", metavar="[NAME]...")
    ] = None,
    add: Annotated[bool, Option("--add", help="Add the models that fit. Files stay where they are.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """List models of other programs on this machine.

    Searches the Hugging Face cache, the folders of ollama, LM Studio, llama.cpp, GPT4All, Jan and text-generation-webui,
    and the folders in the setting models.search. Reads only headers and writes nothing there.
    """
    from llmctl.config import read_models

    entries = list(read_models(flags.paths().models, out.notice).values())
    found = _chosen(_found(entries), names or [])
    if add:
        _add(found, entries)
    elif json:
        from llmctl.view.found import as_json

        for each in found:
            out.json_line(as_json(each))
    elif found:
        from llmctl.cli.console.show import show
        from llmctl.view.found import table

        width = shutil.get_terminal_size().columns if out.is_terminal(sys.stdout) else None
        show(table(found, width))
    else:
        out.notice("no model of another program was found. `llmctl models suggest` lists models to download")


def _found(entries: "Sequence[ModelEntry]") -> "list[FoundModel]":
    """The usable models. Notices name what cannot be used, and count what is of another kind."""
    from llmctl import wire
    from llmctl.guide import NAME as GUIDE
    from llmctl.stores import programs
    from llmctl.stores.stored import home_of
    from llmctl.view.found import FoundModel

    skipped: list[str] = []
    stored = programs.find(home_of(flags.settings().search), skipped.append)
    contents = (
        flags.call(wire.DescribeFiles(paths=[str(each.path) for each in stored]), wire.FilesDescribed).files
        if stored
        else []
    )
    pairs = list(zip(stored, contents, strict=True))
    usable = [(each, content) for each, content in pairs if content.state == "usable"]
    skipped += [content.reason for _, content in pairs if content.state in ("damaged", "unsupported")]
    _report(list(dict.fromkeys(skipped)), sum(content.state == "other" for _, content in pairs))
    users = programs.added(entries)
    added = [users.get(programs.place_of(each.path)) for each, _ in usable]
    new = [each for (each, _), user in zip(usable, added, strict=True) if user is None]
    taken = [GUIDE, *(name for entry in entries for name in (entry.name, *entry.aliases))]
    names = iter(programs.names_for(new, taken))
    return [
        FoundModel(programs.plain(each.name) if user else next(names), each, content, user)
        for (each, content), user in zip(usable, added, strict=True)
    ]


def _report(skipped: Sequence[str], others: int) -> None:
    from llmctl.view.found import on_one_line

    for words in skipped[:NOTICES]:
        out.notice(on_one_line(words))
    if len(skipped) > NOTICES:
        out.notice(f"{len(skipped) - NOTICES} more files and folders are skipped")
    if others:
        what = "file or folder is neither a language model nor an embedding model"
        if others > 1:
            what = "files and folders are neither language models nor embedding models"
        out.notice(f"{others} {what}")


def _chosen(found: "list[FoundModel]", names: Sequence[str]) -> "list[FoundModel]":
    """Those that a pattern matches, by name or target; all without patterns. Raises NotFound for one that matches none."""
    for pattern in names:
        if not any(_matches(each, pattern) for each in found):
            message = f"no model of another program is called {pattern!r}"
            raise NotFound(message, nearest(pattern, [each.name for each in found]) or None)
    return [each for each in found if not names or any(_matches(each, pattern) for pattern in names)]


def _matches(found: "FoundModel", pattern: str) -> bool:
    return fnmatchcase(found.name, pattern) or fnmatchcase(found.target, pattern)


def _add(found: "Iterable[FoundModel]", entries: "Sequence[ModelEntry]") -> None:
    """Adds what fits and was not added. Continues after a model that cannot be added, and raises the first error at the end."""
    failures: list[LlmctlError] = []
    new: list[FoundModel] = []
    for each in found:
        if each.added is not None:
            out.notice(f"{each.name} is already added as {each.added}")
        elif not each.content.fits:
            out.notice(f"{each.name} does not fit in memory; `llmctl models add NAME {each.target}` adds it anyway")
        else:
            try:
                add_stored(each.name, each.stored)
                new.append(each)
            except (ModelUnavailable, InvalidRequest, Usage) as error:
                if failures:
                    out.notice(f"{each.name} cannot be added: {error.message}")
                failures.append(error)
    first = next((each.name for each in new if each.content.kind == "text"), None)
    if first is not None and not any(entry.kind == "text" for entry in entries):
        out.notice(f"{first} is the default model now; `-m` or `defaults.model` selects another")
    if not new and not failures:
        out.notice("nothing to add")
    if failures:
        raise failures[0]


def add_stored(
    name: str,
    stored: "StoredModel",
    settings: dict[str, str] | None = None,
    aliases: Sequence[str] = (),
    kind: str | None = None,
    force: bool = False,
) -> None:
    """Adds a model of another program; `settings` win over the program's own. Reports it, and what of it is not used."""
    from llmctl import wire
    from llmctl.cli.models.labels import report

    request = wire.AddModel(
        name=name, target=str(stored.path), aliases=list(aliases), settings={**stored.settings, **(settings or {})},
        kind=kind, force=force, origin=stored.target,
    )  # fmt: skip
    report(flags.call(request, wire.Model))
    if stored.unused:
        out.notice(f"{stored.target} has parts that are not used here: {', '.join(stored.unused)}")
    if "adapters" in stored.settings:
        out.notice(
            f"{stored.target} has an adapter, which is applied on request: `llmctl ask -m {name} --adapter adapter ...`"
        )
