"""`llmctl embed`: a vector for each text, on stdout or in a file.

It gathers the texts; the hub computes the vectors, and vectors.py writes them.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli.asking import options
from llmctl.cli.console import flags, help, out, stdin
from llmctl.errors import LlmctlError, Usage

if TYPE_CHECKING:
    from llmctl.embedding import Vector

app = flags.group()

EXAMPLES = """
llmctl embed "good morning"
llmctl embed -f lines.txt -o vectors.npy
cut -f2 table.tsv | llmctl embed -m minilm > vectors.jsonl
llmctl embed --prompt query "how tall is the tower?"
"""
Texts = Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Text to turn into a vector.")]
File = Annotated[
    list[str] | None,
    help.option(options.INPUT, "--file", "-f", metavar="FILE", help="File with one text per line. Repeatable."),
]
Prompt = Annotated[
    str | None, help.option(options.INPUT, metavar="NAME", help="Put this prompt of the model before each text.")
]
Output = Annotated[
    str | None,
    help.option(
        options.OUTPUT, "--output", "-o", metavar="FILE", help="Write to this .npy or .jsonl file instead of stdout."
    ),
]


@app.command(cls=help.Sectioned, epilog=EXAMPLES)
def embed(
    text: Texts = None,
    file: File = None,
    prompt: Prompt = None,
    no_stdin: options.NoStdin = False,
    model: options.Model = None,
    user: options.User = None,
    output: Output = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Turn texts into vectors: one JSON line per text, in order.

    The texts are the arguments, then the lines of each file, then the lines of stdin.
    """
    from llmctl.cli.asking.vectors import writer

    write = writer(output)
    texts = gather(text or [], file or [], no_stdin)
    if not texts:
        raise Usage(
            "there is no text to embed", "Give texts as arguments, as lines of `-f FILE`, or as lines on stdin."
        )
    with flags.connect() as client, write(len(texts)) as put:
        first, bad = None, 0
        for vector in client.embeddings(texts, model=model, prompt=prompt, user=user):
            put(vector)
            if vector.error is not None:
                first, bad = first or vector, bad + 1
    if first is not None:
        raise failure(first, bad, len(texts))


def gather(texts: list[str], files: list[str], no_stdin: bool) -> list[str]:
    """The arguments, then each line of each file and of stdin."""
    from llmctl.request import read_file

    found = list(texts)
    for name in files:
        found += lines(read_file(name, None, out.notice).text)
    return found + lines(stdin.read(no_stdin, bool(texts)) or "")


def lines(text: str) -> list[str]:
    """Splits at LF and CRLF only, since a text may hold other separators; drops a leading BOM and an empty last line."""
    text = text.removeprefix("\ufeff")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def failure(first: "Vector", bad: int, count: int) -> LlmctlError:
    """The error of the first text without a vector; the vectors of the others have been printed."""
    from llmctl.embedding import flaw_error

    if count == 1 and first.error is not None:
        return first.error
    return flaw_error(first, f"; {bad} of {count} texts have no vector" if bad > 1 else "")
