"""Files that crashed llama.cpp, as its issues describe them (https://github.com/ggml-org/llama.cpp): the number is the issue's.

Each changes a sound file; it is written from the description.
"""

import random
from collections.abc import Callable

from tests.mutants.gguf_fields import Field, added, packed, written

Report = Callable[[list[Field]], object]
ANY = random.Random(0)


def find(fields: list[Field], kind: str, of: str = "") -> int:
    return next(at for at, field in enumerate(fields) if field.kind == kind and (not of or field.of == of))


def items_of_a_byte(fields: list[Field], key: str) -> None:
    """The right number of items in a quarter of the bytes."""
    at = find(fields, "item type", key)
    count = int.from_bytes(fields[at + 1].data, "little")
    fields[at].data = packed("I", 0)
    fields[at + 2 : at + 2 + count] = [Field("items", bytes(count), key)]


def set_value(fields: list[Field], kind: str, of: str, value: int) -> None:
    field = fields[find(fields, kind, of)]
    field.data = packed(field.letter, value)


def set_token(fields: list[Field], number: int, text: bytes) -> None:
    tokens = [
        at for at, field in enumerate(fields) if field.kind == "item text" and field.of == "tokenizer.ggml.tokens"
    ]
    written(fields, tokens[number], text)


def plamo(fields: list[Field]) -> None:
    written(fields, find(fields, "text", "tokenizer.ggml.model"), b"plamo2")
    set_token(fields, 10, b"<0x-1>")


def signed_alignment(fields: list[Field]) -> None:
    added(ANY, fields, "general.alignment", 32)
    fields[find(fields, "type")].data = packed("I", 5)


def no_vocabulary(fields: list[Field]) -> None:
    written(fields, find(fields, "text", "tokenizer.ggml.model"), b"no_vocab")
    added(ANY, fields, "llama.vocab_size", 2**32 - 1)


def empty_key(fields: list[Field]) -> None:
    written(fields, find(fields, "key") + 0, b"")


REPORTS: dict[str, Report] = {
    "#26690 scores in bytes": lambda fields: items_of_a_byte(fields, "tokenizer.ggml.scores"),
    "#26690 types in bytes": lambda fields: items_of_a_byte(fields, "tokenizer.ggml.token_type"),
    "#26690 a vocabulary of 4 billion that is not there": no_vocabulary,
    "#26318 alignment as a signed number": signed_alignment,
    "#26318 alignment that wraps": lambda fields: added(ANY, fields, "general.alignment", 2**31),
    "#18674 dimension that wraps": lambda fields: set_value(fields, "dim", "token_embd.weight", 2**42 + 1),
    "#25821 more layers than the library holds": lambda fields: set_value(fields, "value", "llama.block_count", 513),
    "#19003 text without end": lambda fields: set_value(fields, "length", "general.architecture", 2**40),
    "#26511 a byte token of -1": plamo,
    "#24263 dimension of zero": lambda fields: set_value(fields, "dim", "output_norm.weight", 0),
    "#24263 empty key": empty_key,
    "#5112 token of a NUL": lambda fields: set_token(fields, 270, b"\0"),
    "#9636 end token beyond the vocabulary": lambda fields: set_value(fields, "value", "tokenizer.ggml.eos_token_id", 2**32 - 1),
}  # fmt: skip
