"""`llmctl ask`: one question, its answer on stdout. It gathers what was given and knows nothing of how it is
answered.
"""

import sys
from typing import Annotated, Any

import typer
from typer import Option

from llmctl.cli.asking import answer
from llmctl.cli.console import flags, out, stdin
from llmctl.errors import Usage
from llmctl.options import Asked
from llmctl.request import show_reasoning

app = flags.group()

SHELL_ONLY = ("save", "no_stream", "json", "no_stdin", "quiet")
"""What concerns the shell and not the request."""
Text = str | None
Real = float | None
Whole = int | None
Many = list[str] | None


@app.command()
def ask(
    prompt: Annotated[Text, typer.Argument(help="The question; {stdin} in it is the place for stdin.")] = None,
    model: Annotated[Text, Option("--model", "-m", help="Name or alias of a model.")] = None,
    system: Annotated[Text, Option("--system", "-s", help="System prompt.")] = None,
    template: Annotated[Text, Option("--template", "-t", help="Name or path of a template.")] = None,
    param: Annotated[Many, Option("--param", "-p", help="k=v: fills {k} in the prompt.", metavar="K=V")] = None,
    file: Annotated[Many, Option("--file", "-f", help="A text file that belongs to the question.")] = None,
    continue_: Annotated[bool, Option("--continue", "-c", help="Continue the last conversation.")] = False,
    conversation: Annotated[Text, Option(help="Continue this conversation; made when new.")] = None,
    max_tokens: Annotated[Whole, Option(help="At most so many tokens.")] = None,
    temperature: Annotated[Real, Option(help="0 is greedy; at most 2.")] = None,
    top_p: Annotated[Real, Option(help="Sample among the likeliest that add up to this.")] = None,
    top_k: Annotated[Whole, Option(help="Sample among so many.")] = None,
    min_p: Annotated[Real, Option(help="Leave out what is less likely than this share of the best.")] = None,
    repeat_penalty: Annotated[Real, Option(help="Above 1: repeats become less likely.")] = None,
    presence_penalty: Annotated[Real, Option(help="Against tokens that occurred.")] = None,
    frequency_penalty: Annotated[Real, Option(help="Against tokens, by how often they occurred.")] = None,
    logit_bias: Annotated[Many, Option(help="TOKEN=X, -100..100.", metavar="TOKEN=X")] = None,
    seed: Annotated[Whole, Option(help="The same seed, the same answer.")] = None,
    stop: Annotated[Many, Option(help="End before this text.")] = None,
    raw: Annotated[bool, Option("--raw", help="The prompt as it stands, without the chat template.")] = False,
    extract: Annotated[bool, Option("--extract", "-x", help="Print only the first code block.")] = False,
    xl: Annotated[bool, Option("--xl", help="Print only the last code block.")] = False,
    n: Annotated[Whole, Option("--n", "-n", help="So many samples, one after another.")] = None,
    schema: Annotated[
        Text, Option(help="Answer in JSON that satisfies this schema.", metavar="FILE|JSON|'name, age int'")
    ] = None,
    grammar: Annotated[Text, Option(help="Answer in a text of this grammar (GBNF).", metavar="FILE")] = None,
    logprobs: Annotated[
        Whole, Option(help="With --json: each token's log-probability, and so many of the likeliest.")
    ] = None,
    reasoning: Annotated[Text, Option(help="show or hide what the model thinks.", metavar="show|hide")] = None,
    think: Annotated[
        Text, Option(help="How much the model thinks before it answers.", metavar="on|off|low|medium|high")
    ] = None,
    overflow: Annotated[
        Text, Option(help="What is left out where the text is too long.", metavar="error|head|middle|tail")
    ] = None,
    cache: Annotated[bool, Option("--cache", help="Store the answer, and take a stored one, in any case.")] = False,
    no_cache: Annotated[bool, Option("--no-cache", help="Neither take a stored answer nor store this one.")] = False,
    refresh: Annotated[bool, Option("--refresh", help="Compute anew, and store.")] = False,
    cache_only: Annotated[bool, Option("--cache-only", help="Only a stored answer; status 13 without one.")] = False,
    semantic: Annotated[
        bool | None,
        Option("--semantic/--no-semantic", help="Whether the stored answer to a question of the same meaning will do."),
    ] = None,
    max_age: Annotated[Text, Option(help="Take no stored answer older than this: 90s 15m 2h 7d.", metavar="T")] = None,
    user: Annotated[Text, Option(help="Whose request this is.")] = None,
    tag: Annotated[Many, Option(help="A label in every record of this request.")] = None,
    adapter: Annotated[
        Many, Option(help="A LoRA adapter of the model, and its strength.", metavar="NAME[=SCALE]")
    ] = None,
    repro: Annotated[bool, Option("--repro", help="Alone, and computed anew: the same bytes each time.")] = False,
    priority: Annotated[
        Text, Option(help="Who goes first when all slots are busy; batch work makes room.", metavar="high|normal|batch")
    ] = None,
    timeout: Annotated[Text, Option(help="Time limit of the whole request: 90s 15m.", metavar="T")] = None,
    keep_alive: Annotated[
        Text, Option(help="How long the model stays loaded afterwards: 5m, 0, -1.", metavar="T")
    ] = None,
    explain: Annotated[bool, Option("--explain", help="Say on stderr what became of the request on its way.")] = False,
    save: Annotated[Text, Option(help="Store what was given as this template, and do not ask.", metavar="NAME")] = None,
    no_stream: Annotated[bool, Option("--no-stream", help="Print the answer when it is whole.")] = False,
    json: flags.Json = False,
    no_stdin: Annotated[bool, Option("--no-stdin", help="Do not read stdin.")] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Ask a model; the answer is on stdout.

    The text of the request is PROMPT, then each file under a line with its name, then stdin.
    """
    asked = gather(locals())
    if save is not None:
        store(save, asked)
        return
    show = show_reasoning(asked)
    asked.stdin = stdin.read(no_stdin, prompt is not None) if asked.tokens is None else None
    if asked.stdin == "" and "{stdin}" not in (prompt or ""):
        asked.stdin = None
    with flags.connect() as client:
        done = answer.show(client, client.pack(asked, stream=not no_stream), show)
    for remark in answer.remarks(*done):
        out.notice(remark)
    if not out.Mode.json:
        for line in answer.explained(done[0]):
            out.aside(out.shown(f"{line}\n", sys.stderr))


def gather(values: dict[str, Any]) -> Asked:
    """The command's arguments as options: `k=v` lists become mappings."""
    options = {name: value for name, value in values.items() if name not in SHELL_ONLY}
    options.update({name: options[name] or [] for name in ("file", "stop", "tag", "adapter")})
    options["param"] = flags.pairs("--param", options["param"] or ())
    options["logit_bias"] = {}
    for item in values["logit_bias"] or ():
        token, _, bias = item.rpartition("=")
        try:
            if not token:
                raise ValueError(item)
            options["logit_bias"][token] = float(bias)
        except ValueError as error:
            raise Usage(f"--logit-bias {item!r} does not read TOKEN=X with a number X", "") from error
    return Asked(**options)


def store(name: str, asked: Asked) -> None:
    from llmctl import templates

    file = templates.save(flags.places().templates, name, asked.prompt, asked)
    out.notice(f"template {name} is stored in {file}; `llmctl ask -t {name}` uses it")
