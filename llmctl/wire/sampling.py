"""How tokens are chosen: the fields that an option, a template, a request and an engine's command have in common.

Each inherits them, so they are written down here alone. Ranges are checked by the hub, defaults filled in by the engine.
"""

import msgspec


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A field that is null was not given: the default of the model or the configuration holds."""

    max_tokens: int | None = None
    """clipped to the room that the prompt leaves"""
    temperature: float | None = None
    """0..2; 0 is greedy"""
    top_p: float | None = None
    """0..1"""
    top_k: int | None = None
    """0 is off"""
    min_p: float | None = None
    """0..1"""
    repeat_penalty: float | None = None
    """1 is off"""
    presence_penalty: float | None = None
    """0 is off"""
    frequency_penalty: float | None = None
    """0 is off"""
    logit_bias: dict[str, float] = {}
    """a token id in decimal, or a text that is one token -> added to its logit, -100..100"""
    seed: int | None = None
    """the same seed gives the same answer"""
    stop: list[str] = []
    """the answer ends before any of these"""
    logprobs: int | None = None
    """0..20: report so many of the likeliest tokens at each place, beside the sampled one"""


def sampling_of(source: Sampling) -> dict[str, object]:
    """The fields by name, to be handed on."""
    return {name: getattr(source, name) for name in Sampling.__struct_fields__}
