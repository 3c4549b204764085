"""Checks token ids and `logit_bias` keys of a request against the model.

The tokenizer is passed in as two functions.
"""

from collections.abc import Callable

from llmctld.engine.errors import Refusal


def checked(tokens: list[int], size: int) -> list[int]:
    """Return `tokens`. Raises Refusal if an id is not below `size`."""
    for token in tokens:
        if not 0 <= token < size:
            raise Refusal("invalid_request", f"token {token} is out of range: this model has 0 to {size - 1}")
    return tokens


def named(key: str, size: int, tokenise: Callable[[str], list[int]], piece: Callable[[int], bytes]) -> int:
    """The token of a `logit_bias` key: a decimal id, or a text that is exactly one token."""
    if key.isascii() and key.isdigit():
        return checked([int(key)], size)[0]
    tokens = tokenise(key)
    if len(tokens) == 2 and piece(tokens[0]) == b" " and not key.startswith(" "):
        tokens = tokens[1:]  # SentencePiece puts a space before every text
    if len(tokens) != 1:
        message = f"logit_bias {key!r} is {len(tokens)} tokens of this model, but must be one"
        raise Refusal("invalid_request", message, "Give the id of a token, or a text that is exactly one.")
    return tokens[0]
