"""`llmctl completion`: scripts that complete commands, options and names in the shell itself, without Python or a hub.

They are generated from the table of commands; names of models and templates, also of ollama's models, are read from the names
of files. Whatever a file is called, no shell expands its name: a candidate is compared and inserted, never evaluated.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any

import typer
from typer import Argument

from llmctl.cli.console import flags, out

app = flags.group()


class Shell(str, Enum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"


VALUES = {
    "--model": "@models",
    "ask --model": "@models @guide",
    "chat --model": "@models @guide",
    "--template": "@templates",
    "--file": "@files",
    "--reasoning": "show hide",
    "--think": "on off low medium high",
    "--overflow": "error head middle tail",
    "--priority": "high normal batch",
    "--tier": "premium standard economy",
    "--for": "chat code embed tools",
}
"""Option, of all commands or of one, -> the values to complete; other options that take a value complete nothing."""
ARGUMENTS = {
    "models show": "@models",
    "models set": "@models",
    "models pin": "@models",
    "models rm": "@models",
    "models load": "@models",
    "models unload": "@models",
    "models estimate": "@models",
    "models add": "@files @ollama",
    "templates show": "@templates",
    "templates edit": "@templates",
    "templates rm": "@templates",
    "completion": "bash zsh fish",
}
"""Command -> what its arguments complete."""

COMMON = """# Completion of llmctl. Made by `llmctl completion {shell}`; do not edit.
__llmctl_names() {{
    __dir="${{LLMCTL_HOME:-}}"
    if [ -n "$__dir" ]; then __dir="$__dir/$1"
    elif [ "$(uname)" = Darwin ]; then __dir="$HOME/Library/Application Support/llmctl/$1"
    elif [ "$1" = models ]; then __dir="${{XDG_DATA_HOME:-$HOME/.local/share}}/llmctl/models"
    else __dir="${{XDG_CONFIG_HOME:-$HOME/.config}}/llmctl/templates"
    fi
    for __file in "$__dir"/*.json "$__dir"/*.yaml; do
        __file="${{__file##*/}}"
        __file="${{__file%.*}}"
        case "$__file" in
            ""|[!A-Za-z0-9]*|*[!A-Za-z0-9._:-]*) ;;
            *) printf "%s\\n" "$__file" ;;
        esac
    done
}}
__llmctl_ollama() {{
    for __store in "${{OLLAMA_MODELS:-$HOME/.ollama/models}}" {stores}; do
        for __file in "$__store"/manifests/*/*/*/*; do
            __file="${{__file#"$__store"/manifests/}}"
            __tag="${{__file##*/}}"
            __file="${{__file%/*}}"
            __file="${{__file#registry.ollama.ai/}}"
            case "$__file:$__tag" in
                *[!A-Za-z0-9._:/-]*) ;;
                *) printf "ollama:%s:%s\\n" "${{__file#library/}}" "$__tag" ;;
            esac
        done
    done
}}
__llmctl_words() {{
    case "$1" in
{words}
    esac
}}
__llmctl_values() {{
    case "$1 $2" in
{values}
        *) return 1 ;;
    esac
}}
__llmctl_candidates() {{
    IFS=" "
    __path=""
    __previous=""
    for __word in "$@"; do
        case "$__word" in
            -*) ;;
            *) case "$__path" in
                "") __path="$__word" ;;
                {groups}) __path="$__path $__word" ;;
            esac ;;
        esac
        __previous="$__word"
    done
    __found="$(__llmctl_values "$__path" "$__previous")" || __found="$(__llmctl_words "$__path")"
    for __word in $(printf "%s" "$__found"); do
        case "$__word" in
            @files) printf "@files\\n" ;;
            @ollama) __llmctl_ollama ;;
            @guide) [ -n "$(__llmctl_names models)" ] || printf "{guide}\\n" ;;
            @*) __llmctl_names "${{__word#@}}" ;;
            *) printf "%s\\n" "$__word" ;;
        esac
    done
}}
"""

BASH = """_llmctl() {
    local cur words candidate prefix files
    cur="${COMP_LINE:0:COMP_POINT}"
    cur="${cur##* }"
    words="${COMP_LINE:0:COMP_POINT}"
    words="${words%"$cur"}"
    IFS=$' \\t\\n' read -r -d "" -a words <<< "$words"
    cur="${cur#[\\"\\']}"
    COMPREPLY=()
    files=""
    while IFS= read -r candidate; do
        case "$candidate" in
            @files) files=yes ;;
            "$cur"*) [ -z "$candidate" ] || COMPREPLY+=("$candidate") ;;
        esac
    done <<< "$(__llmctl_candidates "${words[@]:1}")"
    if [ -n "$files" ]; then
        case "$cur" in
            -*|oll*) ;;
            *) COMPREPLY=() ;;
        esac
        type compopt >/dev/null 2>&1 && compopt -o default
    fi
    case "$cur" in
        *:*) prefix="${cur%"${cur##*:}"}"; COMPREPLY=("${COMPREPLY[@]#"$prefix"}") ;;
    esac
}
if type compopt >/dev/null 2>&1; then complete -F _llmctl llmctl
else complete -o default -F _llmctl llmctl
fi
"""
"""Readline completes file names by itself where the function leaves them to it. Bash 3.2 (macOS) has no compopt: there it also
offers files where nothing else is known."""

ZSH = """__llmctl_as_sh() {
    emulate -L sh
    __llmctl_candidates "$@"
}
_llmctl() {
    local -a found
    found=("${(@f)$(__llmctl_as_sh "${(@)words[2,CURRENT-1]}")}")
    if (( ${found[(Ie)@files]} )); then
        _files
        found=("${(@)found:#@files}")
    fi
    compadd -- "${(@)found:#}"
}
if [ "${funcstack[1]}" = _llmctl ]; then _llmctl "$@"; else compdef _llmctl llmctl; fi
"""

FISH = """function __llmctl_complete
    set -l words (commandline -opc)
    for word in (command sh -c '{script}__llmctl_candidates "$@"' llmctl $words[2..-1])
        if test "$word" = @files
            __fish_complete_path (commandline -ct)
        else
            printf "%s\\n" $word
        end
    end
end
complete -c llmctl -f -a '(__llmctl_complete)'
"""


@app.command()
def completion(shell: Annotated[Shell, Argument(help="bash, zsh or fish.", metavar="SHELL")]) -> None:
    """Print the completion script of a shell.

    bash: llmctl completion bash >> ~/.bash_completion

    zsh: llmctl completion zsh > DIR/_llmctl, where DIR is a folder of $fpath

    fish: llmctl completion fish > ~/.config/fish/completions/llmctl.fish
    """
    out.text(script(shell.value))


def script(shell: str) -> str:
    """The whole script for "bash", "zsh" or "fish"."""
    from llmctl.guide import NAME as GUIDE
    from llmctl.stores.ollama import SYSTEM

    commands = list(_commands())
    common = COMMON.format(
        shell=shell,
        stores=" ".join(SYSTEM),
        guide=GUIDE,
        words="\n".join(f'        "{path}") printf "%s" "{words}" ;;' for path, words, _ in commands),
        values="\n".join(f"        {case}" for path, _, command in commands for case in _values(path, command)),
        groups="|".join(path for path, _, command in commands if path and hasattr(command, "commands")),
    )
    if shell == "bash":
        return common + BASH
    if shell == "zsh":
        return "#compdef llmctl\n" + common + ZSH
    return FISH.replace("{script}", common.replace("\\", "\\\\"))


def _commands() -> Iterator[tuple[str, str, Any]]:
    """(path, words to complete, command) of the root, each command and each subcommand."""
    from llmctl.cli import main

    root: Any = typer.main.get_command(main.app)
    yield "", " ".join([*_flags(root), *main.COMMANDS]), root
    for name in main.COMMANDS:
        command = root.get_command(None, name)
        below = getattr(command, "commands", {})
        yield name, " ".join([ARGUMENTS.get(name, ""), *_flags(command), *below]).strip(), command
        for sub, inner in below.items():
            path = f"{name} {sub}"
            yield path, " ".join([ARGUMENTS.get(path, ""), *_flags(inner)]).strip(), inner


def _options(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option" and not param.hidden]


def _flags(command: Any) -> list[str]:
    return [*(flag for param in _options(command) for flag in param.opts), "--help"]


def _values(path: str, command: Any) -> Iterator[str]:
    for param in _options(command):
        if not param.is_flag:
            named = [f"{path} {flag}" for flag in param.opts] + list(param.opts)
            value = next((VALUES[name] for name in named if name in VALUES), "")
            patterns = "|".join(f'"{path} {flag}"' for flag in param.opts)
            yield f'{patterns}) printf "%s" "{value}" ;;'
