"""How llama.cpp lays out its memory for a model, as numbers from the file's header and the settings.

Weights are the tensors of the file, to the byte. KV memory is what the library's caches are sized by. What a step computes
with was fitted to what the library reports (0.3.36 without allocating anything, some 200 shapes): at its widest moment a
step holds, for each of its tokens, a few rows as wide as the model, what its feed-forward part makes, and the mask of
what it may look at.
"""

from typing import NamedTuple

from llmctl.config import ModelSettings
from llmctld.models.catalogue.catalog import SLOTS
from llmctld.models.catalogue.header import Header
from llmctld.models.memory.attention_windows import window

CONTEXT_CAP = 8192
"""As engine/llama/model.py has it, where the settings name no context."""
CELLS = 256
"""The context of a stream is rounded up to a multiple of this."""
BATCH = 512
DRAFTED = 32
"""Rows of logits that engine/drafts/speculation.py keeps free."""
F32, F16 = 4, 2
LAYERS = 4096
"""No model has so many: such a header is damaged."""
VALUE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}  # fmt: skip
"""Type of the KV memory -> bytes of one value."""


class Estimate(NamedTuple):
    """Bytes: of the weights, of the KV memory (or recurrent states), and of what is computed with them."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return sum(self)


class Layout(NamedTuple):
    """What a header says about the size of things: numbers of values, each for one token unless it says otherwise."""

    layers: int
    width: int
    forward: int
    """What the feed-forward part of a layer makes: of all experts that are used, with its gate."""
    heads: int
    query: int
    keys: int
    """Of the widest layer, all heads."""
    cell: int
    """K and V, over all layers that look back whole."""
    near: int
    """K and V, over those that look back a window only."""
    window: int
    """Tokens of that; 0: all look back whole."""
    state: int
    """Of a stream, over all recurrent layers."""
    inner: int
    """Width of a recurrent layer; 0: there is none."""
    words: int
    trained: int
    causal: bool


class Fields:
    """The keys of a header that begin with its architecture."""

    def __init__(self, header: Header) -> None:
        self._header, self._kind = header, str(header.values.get("general.architecture", ""))
        self.layers = self.number("block_count")
        if self.layers > LAYERS:
            raise ValueError(f"a model of {self.layers} layers")

    def number(self, key: str, default: float = 0) -> int:
        found = self._header.values.get(f"{self._kind}.{key}", default)
        return int(found) if isinstance(found, int | float) else int(default)

    def per_layer(self, key: str, default: int) -> list[int]:
        listed = self._header.lists.get(f"{self._kind}.{key}")
        return [int(one) for one in listed] if listed else [self.number(key, default)] * self.layers


def layout(header: Header) -> Layout:
    """What is not named is as wide as the model."""
    fields = Fields(header)
    number, width = fields.number, fields.number("embedding_length")
    heads = max(fields.per_layer("attention.head_count", 0), default=0)
    key_heads = fields.per_layer("attention.head_count_kv", heads)
    recurrent = _recurrent(fields, key_heads)
    head = width // max(heads, 1)
    key, value = number("attention.key_length", head), number("attention.value_length", head)
    attending = fields.layers - recurrent if number("full_attention_interval") else fields.layers
    looks, near_layers = window(header, fields.layers)
    near_heads = sum(heads for heads, near in zip(key_heads, near_layers, strict=True) if near)
    near = near_heads * (number("attention.key_length_swa", key) + number("attention.value_length_swa", value))
    cell = (sum(key_heads) - near_heads) * (key + value) * attending // max(fields.layers, 1)
    causal = header.values.get(f"{header.values.get('general.architecture')}.attention.causal") is not False
    return Layout(
        fields.layers, width, _forward(header, fields), heads, heads * key, max(key_heads, default=0) * key, cell, near, looks,
        recurrent * _state(fields), number("ssm.inner_size"), header.shapes.get("token_embd.weight", (0, 0))[-1],
        number("context_length"), causal,
    )  # fmt: skip


def _recurrent(fields: Fields, key_heads: list[int]) -> int:
    """Layers with a state of fixed size: all, those without keys, or all but every so many."""
    if not fields.number("ssm.inner_size"):
        return 0
    if interval := fields.number("full_attention_interval"):
        return fields.layers - fields.layers // interval
    return key_heads.count(0) or fields.layers


def _state(fields: Fields) -> int:
    """Of one recurrent layer and stream: what its convolution looks back at, and the state proper."""
    inner, size = fields.number("ssm.inner_size"), fields.number("ssm.state_size")
    convolved = inner + 2 * fields.number("ssm.group_count") * size
    return max(0, fields.number("ssm.conv_kernel") - 1) * convolved + inner * size


def _forward(header: Header, fields: Fields) -> int:
    """A gate makes it three times as wide: itself, what it gates, and their product."""
    wide = max(fields.per_layer("feed_forward_length", 4 * fields.number("embedding_length")), default=0)
    up = header.shapes.get("blk.0.ffn_up.weight", (0, 0))[-1]
    gated = any(".ffn_gate" in name for name in header.shapes) or up > wide
    used, narrow = fields.number("expert_used_count"), fields.number("expert_feed_forward_length", wide)
    summed = used * (2 * fields.number("embedding_length") + narrow)  # what each expert says, and with its weight
    return max(max(used * narrow, wide) * (3 if gated else 1), summed)


def context(header: Header, settings: ModelSettings) -> int:
    """Tokens that one request may use."""
    return settings.context or min(Fields(header).number("context_length"), CONTEXT_CAP)


def text(header: Header, settings: ModelSettings) -> Estimate:
    """Of a model that generates, all of its memory in use: a stream of whole cells for each slot and each retained prefix."""
    of = layout(header)
    slots = settings.slots or SLOTS["text"]
    retained = slots if settings.retained is None else settings.retained
    streams = slots + (0 if of.state else retained)  # what has a state can be neither cut nor copied
    cells = -(-context(header, settings) // CELLS) * CELLS
    batch = max(settings.batch or BATCH, slots)
    near = _near(of, cells, batch)
    values = streams * (cells * of.cell + near * of.near)
    kv = int(values * VALUE_BYTES[settings.kv_type or "f16"]) + streams * of.state * F32
    batch = min(batch, streams * cells)
    rows = streams + (DRAFTED if settings.speculation != "off" and not of.state else 0)
    quantised = (settings.kv_type or "").startswith("q")
    compute = _compute(of, batch, (cells, near), rows, settings.flash_attention is False and not quantised)
    return Estimate(header.weights or 0, kv, compute + streams * of.words * F32)


def embedding(header: Header, settings: ModelSettings) -> Estimate:
    """Of a model that reads a batch at once; a decoder keeps K and V of it meanwhile."""
    of = layout(header)
    batch = max(settings.batch or BATCH, context(header, settings))
    cells = -(-batch // CELLS) * CELLS
    kv = cells * (of.cell + of.near) * F16 if of.causal else 0
    texts = settings.slots or SLOTS["embedding"]
    seen = cells if of.causal else batch
    compute = _compute(of, batch, (seen, seen), 0, settings.flash_attention is False)
    return Estimate(header.weights or 0, kv, compute + texts * (of.words + of.width) * F32)


def _near(of: Layout, cells: int, batch: int) -> int:
    """Cells of a stream for layers that look back a window: that, and what a step computes."""
    return min(cells, -(-(of.window + batch) // CELLS) * CELLS)


def _compute(of: Layout, batch: int, cells: tuple[int, int], rows: int, plain: bool) -> int:
    """The widest moment of a step: within attention, within the feed-forward part, or at the logits.

    `cells`: of a stream, for layers that look back whole and for those with a window, of which each kind has its mask.
    `plain`: without flash attention, which never has all scores of all heads at once. The last layer goes on with those rows
    that are wanted, so its feed-forward part counts for nothing.
    """
    whole, masks = cells[0], sum(cells) if of.window else cells[0]
    before = of.layers > 1
    if plain:
        scores = of.heads * whole + masks
        attention = F32 * (3 * of.width + 2 * of.query + 2 * of.keys + scores)
    else:
        attention = F32 * (3 * of.width + of.query + max(2 * of.keys, of.query)) + F16 * masks
    forward = (
        F32 * (of.forward + 3 * of.width + (of.query if of.causal else 0))
        + F16 * (masks if of.layers > 2 else whole) * before
    )
    state = F32 * (3 * of.width + 5 * of.inner) if of.inner else 0
    if not of.heads:
        attention = forward = 0
    logits = rows * of.words * F32 + batch * F32 * of.width
    return max(batch * max(attention, forward if before else 0, state), logits)
