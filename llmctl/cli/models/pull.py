"""`llmctl pull` and `llmctl models pull`: fetch a model of the Hugging Face hub, and add it.

The hub of llmctl does the work; this tells it whose token counts, and shows how far it has come.
"""

import os
import time
from typing import Annotated

from typer import Argument, Option

from llmctl.cli.console import flags, out, signals
from llmctl.cli.models.labels import Alias, Force, PriceCached, PriceIn, PriceOut, Set, Tag, Tier, labels

app = flags.group()


@app.command()
def pull(
    repo: Annotated[
        str, Argument(help="OWNER/NAME or its page, and a GGUF file or quantisation of it.", metavar="REPO[:FILE]")
    ],
    as_: Annotated[str | None, Option("--as", help="What to call the model; as its file.", metavar="NAME")] = None,
    alias: Alias = None,
    tier: Tier = None,
    price_in: PriceIn = None,
    price_cached: PriceCached = None,
    price_out: PriceOut = None,
    tag: Tag = None,
    set: Set = None,
    force: Force = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Fetch a model of the Hugging Face hub, and add it. What was cut off goes on where it stopped."""
    from llmctl import wire
    from llmctl.client import result_of
    from llmctl.pages import repo_of
    from llmctl.view.models import added, progress

    wanted = repo_of(repo)
    request = wire.PullModel(
        repo=wanted.name,
        file=wanted.file,
        name=as_,
        aliases=alias or [],
        settings=labels(set, tier, price_in, price_cached, price_out, tag),
        force=force,
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        token=os.environ.get("HF_TOKEN") or None,
    )
    begun = time.monotonic()
    result = None
    try:
        with flags.connect() as client:
            for reply in client.replies(request):
                if isinstance(reply, wire.Progress) and reply.total:
                    out.passing(progress(reply.done, reply.total, time.monotonic() - begun))
                elif isinstance(reply, wire.Notice):
                    out.passing("")
                    out.notice(reply.text)
                elif isinstance(reply, wire.FINAL):
                    out.passing("")
                    result = result_of(reply)
    except signals.Interrupt:
        out.passing("")
        out.notice("what has come is kept: the same command goes on where this one stopped")
        raise
    assert isinstance(result, wire.Model)
    if json:
        out.json_line(added(result))
    else:
        use = "embed" if result.kind == "embedding" else "ask"
        out.notice(f"model {result.name} is added; `llmctl {use} -m {result.name} ...` uses it")
