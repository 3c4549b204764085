"""What requests say of tokens, checked against a model's own: ids, and the keys of `logit_bias`.

It knows no tokenizer; each library's is handed in as two functions.
"""

from collections.abc import Callable

from llmctld.engine.errors import Refusal


def checked(tokens: list[int], size: int) -> list[int]:
    """Tokens that somebody else numbered; raises Refusal for one that is not below `size`."""
    for token in tokens:
        if not 0 <= token < size:
            raise Refusal("invalid_request", f"token {token} is out of range: this model has 0 to {size - 1}")
    return tokens


def named(key: str, size: int, tokenise: Callable[[str], list[int]], piece: Callable[[int], bytes]) -> int:
    """The token that a key of `logit_bias` means: an id in decimal, or a text that is exactly one token."""
    if key.isascii() and key.isdigit():
        return checked([int(key)], size)[0]
    tokens = tokenise(key)
    if len(tokens) == 2 and piece(tokens[0]) == b" " and not key.startswith(" "):
        tokens = tokens[1:]  # SentencePiece begins every text with a space
    if len(tokens) != 1:
        message = f"logit_bias {key!r} is {len(tokens)} tokens of this model, but must be one"
        raise Refusal("invalid_request", message, "Give the id of a token, or a text that is exactly one.")
    return tokens[0]
