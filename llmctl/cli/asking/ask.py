"""`llmctl ask`: one prompt, its answer on stdout.

It gathers options and input into an `Asked`; how that is answered is for the hub to decide.
"""

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from llmctl.cli.asking import answer, options
from llmctl.cli.console import flags, help, out, stdin
from llmctl.errors import Usage
from llmctl.options import Asked
from llmctl.request import show_reasoning

app = flags.group()

EXAMPLES = """
llmctl ask "Why is the sky blue?"
git diff | llmctl ask "Write a commit message for this."
llmctl ask -f report.txt "List the risks." --schema 'risk, severity int'
llmctl ask -c "And the worst of them?"
"""


@app.command(cls=help.Sectioned, epilog=EXAMPLES)
def ask(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT]", help="Question or instruction; {stdin} in it is replaced by the text on stdin."
        ),
    ] = None,
    system: options.System = None,
    template: options.Template = None,
    param: options.Param = None,
    file: options.File = None,
    raw: options.Raw = False,
    overflow: options.Overflow = None,
    save: options.Save = None,
    no_stdin: options.NoStdin = False,
    continue_: options.Continue = False,
    conversation: options.Conversation = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    keep_alive: options.KeepAlive = None,
    priority: options.Priority = None,
    timeout: options.Timeout = None,
    max_cost: options.MaxCost = None,
    user: options.User = None,
    tag: options.Tag = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    presence_penalty: options.PresencePenalty = None,
    frequency_penalty: options.FrequencyPenalty = None,
    logit_bias: options.LogitBias = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    n: options.Samples = None,
    repro: options.Repro = False,
    schema: options.Schema = None,
    grammar: options.Grammar = None,
    extract: options.Extract = False,
    xl: options.ExtractLast = False,
    think: options.Think = None,
    reasoning: options.Reasoning = None,
    logprobs: options.Logprobs = None,
    explain: options.Explain = False,
    no_stream: options.NoStream = False,
    cache: options.Cache = False,
    no_cache: options.NoCache = False,
    refresh: options.Refresh = False,
    cache_only: options.CacheOnly = False,
    semantic: options.Semantic = None,
    max_age: options.MaxAge = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Ask a model; the answer is on stdout.

    The text of the request is PROMPT, then each file below its name, then stdin.
    """
    asked = Asked(
        prompt=prompt,
        system=system,
        template=template,
        param=dict(flags.pairs("--param", param or ())),
        file=file or [],
        raw=raw,
        overflow=overflow,
        continue_=continue_,
        conversation=conversation,
        model=model,
        adapter=adapter or [],
        keep_alive=keep_alive,
        priority=priority,
        timeout=timeout,
        max_cost=max_cost,
        user=user,
        tag=tag or [],
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=biases(logit_bias or ()),
        seed=seed,
        stop=stop or [],
        n=n,
        repro=repro,
        schema=schema,
        grammar=grammar,
        extract=extract,
        xl=xl,
        think=think,
        reasoning=reasoning,
        logprobs=logprobs,
        explain=explain,
        cache=cache,
        no_cache=no_cache,
        refresh=refresh,
        cache_only=cache_only,
        semantic=semantic,
        max_age=max_age,
    )
    if save is not None:
        store(save, asked)
    else:
        send(asked, stream=not no_stream, skip_stdin=no_stdin)


def biases(items: Iterable[str]) -> dict[str, float]:
    """The values of --logit-bias. Raises Usage."""
    found = {}
    for item in items:
        token, _, bias = item.rpartition("=")
        try:
            if not token:
                raise ValueError(item)
            found[token] = float(bias)
        except ValueError as error:
            raise Usage(
                f"--logit-bias {item!r} is not TOKEN=X with a number X", "An example: --logit-bias 1532=-100."
            ) from error
    return found


def send(asked: Asked, stream: bool, skip_stdin: bool) -> None:
    """Adds stdin, sends the request and prints the answer."""
    show = show_reasoning(asked)
    asked.stdin = stdin.read(skip_stdin, asked.prompt is not None)
    if asked.stdin == "" and "{stdin}" not in (asked.prompt or ""):
        asked.stdin = None
    with flags.connect() as client:
        request = client.pack(asked, stream=stream)
        request.guide = client.config.defaults.guide and asked.template is None
        done = answer.show(client, request, show)
    for remark in answer.remarks(*done):
        out.notice(remark)
    if not out.Mode.json:
        for line in answer.explained(done[0]):
            out.aside(out.shown(f"{line}\n", sys.stderr))


def store(name: str, asked: Asked) -> None:
    from llmctl import templates

    saved = templates.save(flags.paths().templates, name, asked.prompt, asked)
    out.notice(f"template {name} is stored in {saved}; `llmctl ask -t {name}` uses it")
