"""`llmctl pull` and `llmctl models pull`: download a model from Hugging Face and add it.

The hub (llmctl's own) downloads; this sends it the user's token and shows the progress.
"""

import os
import time
from typing import Annotated

from typer import Argument

from llmctl.cli.console import flags, help, out, signals
from llmctl.cli.models.labels import NAMES, Alias, Force, PriceCached, PriceIn, PriceOut, Set, Tag, Tier, labels, report

app = flags.group()


EXAMPLES = """
llmctl pull ggml-org/gemma-3-1b-it-GGUF
llmctl pull Qwen/Qwen3-4B-GGUF:Q8_0 --as qwen
llmctl pull https://huggingface.co/ggml-org/gemma-3-270m-it-GGUF --alias tiny
HF_TOKEN=... llmctl pull OWNER/PRIVATE --set context=16384
"""


@app.command(cls=help.Sectioned, epilog=EXAMPLES)
def pull(
    repo: Annotated[
        str,
        Argument(
            help="OWNER/NAME or the address of its page; FILE: a GGUF file or a quantisation such as Q8_0.",
            metavar="REPO[:FILE]",
        ),
    ],
    as_: Annotated[
        str | None, help.option(NAMES, "--as", help="Name of the model. Default: from its file name.", metavar="NAME")
    ] = None,
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
    """Download a model from Hugging Face and add it.

    An interrupted download resumes where it stopped.
    """
    from llmctl import secret, wire
    from llmctl.client import result_of
    from llmctl.pages import repo_of
    from llmctl.view.models import progress

    wanted = repo_of(repo)
    token = os.environ.get("HF_TOKEN") or None
    if token is not None:
        token, cut = secret.trimmed(token)
        if cut:
            out.notice("HF_TOKEN has white space around it, which is left out")
    request = wire.PullModel(
        repo=wanted.name,
        file=wanted.file,
        name=as_,
        aliases=alias or [],
        settings=labels(set, tier, price_in, price_cached, price_out, tag),
        force=force,
        endpoint=os.environ.get("HF_ENDPOINT") or None,
        token=token or None,
    )
    begun = time.monotonic()
    result = None
    try:
        with flags.connect() as client:
            for reply in client.replies(request):
                if isinstance(reply, wire.Progress) and reply.total:
                    out.progress(progress(reply.done, reply.total, time.monotonic() - begun))
                elif isinstance(reply, wire.Notice):
                    out.progress("")
                    out.notice(reply.text)
                elif isinstance(reply, wire.FINAL):
                    out.progress("")
                    result = result_of(reply)
    except signals.Interrupt:
        out.progress("")
        out.notice("interrupted: the partial download is kept; run the same command again to resume")
        raise
    assert isinstance(result, wire.Model)
    report(result)
