"""`llmctl embed`: a vector for each text, on stdout or in a file. It gathers the texts and knows nothing of how they are
embedded.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from llmctl.cli.console import flags, stdin
from llmctl.errors import LlmctlError, Usage

if TYPE_CHECKING:
    from llmctl.embedding import Vector

app = flags.group()

Many = list[str] | None
Text = str | None


@app.command()
def embed(
    text: Annotated[Many, typer.Argument(help="A text; several make several vectors.")] = None,
    file: Annotated[Many, Option("--file", "-f", help="A text file of which each line is a text.")] = None,
    model: Annotated[Text, Option("--model", "-m", help="Name or alias of an embedding model.")] = None,
    output: Annotated[
        Text, Option("--output", "-o", help="A file instead of stdout.", metavar="OUT.npy|OUT.jsonl")
    ] = None,
    prompt: Annotated[Text, Option(help="One of the model's prompts, put before each text.", metavar="NAME")] = None,
    user: Annotated[Text, Option(help="Whose request this is.")] = None,
    no_stdin: Annotated[bool, Option("--no-stdin", help="Do not read stdin.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Make texts into vectors: a JSON line for each, in order.

    The texts are those given, then the lines of each file, then the lines of stdin.
    """
    from llmctl.cli.asking.vectors import writer

    write = writer(output)
    texts = gather(text or [], file or [], no_stdin)
    if not texts:
        raise Usage("there is no text to embed", "Give it as an argument, as the lines of `-f FILE`, or on stdin.")
    with flags.connect() as client, write(len(texts)) as put:
        first, bad = None, 0
        for vector in client.embeddings(texts, model=model, prompt=prompt, user=user):
            put(vector)
            if vector.error is not None:
                first, bad = first or vector, bad + 1
    if first is not None:
        raise failure(first, bad, len(texts))


def gather(texts: list[str], files: list[str], no_stdin: bool) -> list[str]:
    """Of a file and of stdin each line; an empty last line is none."""
    from llmctl.request import read_file

    found = list(texts)
    for name in files:
        found += lines(read_file(name).text)
    return found + lines(stdin.read(no_stdin, bool(texts)) or "")


def lines(text: str) -> list[str]:
    """Ended by LF or CRLF alone: other separators may stand within a text. A leading BOM belongs to none."""
    text = text.removeprefix("\ufeff")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def failure(first: "Vector", bad: int, count: int) -> LlmctlError:
    """What the command ends with when a text has no vector: the first one's error; the others' vectors are printed."""
    from llmctl.embedding import named

    if count == 1 and first.error is not None:
        return first.error
    return named(first, f"; {bad} of {count} texts have no vector" if bad > 1 else "")
