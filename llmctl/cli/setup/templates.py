"""`llmctl templates`: the files in the templates folder. `llmctl.templates` defines what a template contains."""

import os
import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument

from llmctl import templates
from llmctl.cli.console import flags, out
from llmctl.config import check_name
from llmctl.errors import ConfigError, Usage

app = flags.group("List, show, edit and remove templates.")

Name = Annotated[str, Argument(help="Name or path of a template.", metavar="NAME")]


@app.command("ls")
def ls(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """List the templates."""
    folder = flags.paths().templates
    found = templates.names(folder)
    if not found and not json:
        out.notice(f"there are no templates in {folder}; `llmctl ask --save NAME ...` creates one")
    for name in found:
        if json:
            out.json_line({"name": name, "file": str(folder / f"{name}.yaml")})
        else:
            out.line(name)


@app.command("show")
def show(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Print a template."""
    folder = flags.paths().templates
    if json:
        template = templates.load(folder, name)
        out.json_line({"name": name, "params": template.declared(), **_given(template)})
    else:
        text = templates.read(templates.find(folder, name))
        out.text(text if text.endswith("\n") else text + "\n")


def _given(template: templates.Template) -> dict[str, object]:
    from llmctl.options import given_options

    prompt = {} if template.prompt is None else {"prompt": template.prompt}
    return {**prompt, **{key.rstrip("_"): value for key, value in given_options(template).items()}}


BEGINNING = """# prompt: Summarise this in three lines. {stdin}
# system: You are brief.
# params: {language: English}
# model: NAME
# temperature: 0.2
"""


@app.command("edit")
def edit(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Edit a template in $VISUAL or $EDITOR and check it afterwards. A new one starts with examples."""
    folder = flags.paths().templates
    file = Path(name) if "/" in name else folder / f"{check_name('template', name)}.yaml"
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise Usage("neither VISUAL nor EDITOR is set", f"Set EDITOR, or edit {file} yourself.")
    if not file.exists():
        templates.write(file, BEGINNING)
    try:
        _run([*shlex.split(editor), str(file)])
    finally:
        unchanged = file.exists() and templates.read(file) == BEGINNING
        if unchanged:
            file.unlink()
    if unchanged:
        out.notice("no changes: the template was not written")
        return
    templates.load(folder, str(file))
    if json:
        out.json_line({"name": name, "file": str(file)})


def _run(command: list[str]) -> None:
    import subprocess

    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise Usage(f"cannot start the editor {command[0]}: {error.strerror}", "Set VISUAL or EDITOR.") from error
    if status:
        raise ConfigError(f"the editor {command[0]} ended with status {status}", "The template may be incomplete.")


@app.command("rm")
def rm(name: Name, yes: flags.Yes = False, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Remove a template."""
    file = templates.find(flags.paths().templates, name)
    flags.confirm(yes, [str(file)])
    file.unlink(missing_ok=True)
    if json:
        out.json_line({"removed": name})
