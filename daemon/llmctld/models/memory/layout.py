"""Estimates llama.cpp's memory for a model from the file's header and the settings.

Weights are the exact size of the tensors. KV memory is the exact size of the library's caches. Compute memory is a
formula fitted to what the library reports (version 0.3.36, some 200 shapes): at its peak a step holds, for each of its
tokens, a few rows as wide as the model, the output of the feed-forward part, and the attention mask.
"""

from typing import NamedTuple

from llmctl.config import CONTEXT_CAP, ModelSettings
from llmctld.models.catalogue.catalog import SLOTS
from llmctld.models.catalogue.header import Header
from llmctld.models.memory.attention_windows import window

CELLS = 256
"""Cells of a stream are rounded up to a multiple of this."""
BATCH = 512
DRAFTED = 32
"""Rows of logits reserved for drafts (engine/drafts/speculation.py)."""
F32, F16 = 4, 2
LAYERS = 4096
"""Sanity limit: a header with more layers is damaged."""
VALUE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32,
}  # fmt: skip
"""Type of the KV memory -> bytes of one value."""


class Estimate(NamedTuple):
    """Bytes of weights, of KV memory (or recurrent states), and of compute buffers."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return sum(self)


def is_possible(found: Estimate) -> bool:
    """Whether a machine could have so much memory: a header may claim any numbers, also negative ones."""
    return all(0 <= part < 2**62 for part in found)


class Layout(NamedTuple):
    """Sizes from a header, as numbers of values per token unless stated otherwise."""

    layers: int
    width: int
    forward: int
    """Output of a layer's feed-forward part: all active experts, gate included."""
    heads: int
    query: int
    keys: int
    """Of the widest layer, all heads."""
    cell: int
    """K and V of all layers with full attention."""
    near: int
    """K and V of all layers with a sliding window."""
    window: int
    """Size of the window in tokens; 0: all layers use full attention."""
    state: int
    """State of one stream in all recurrent layers."""
    inner: int
    """Width of a recurrent layer; 0: there is none."""
    words: int
    trained: int
    causal: bool


class Fields:
    """Header values whose keys start with the architecture's name."""

    def __init__(self, header: Header) -> None:
        self._header, self._kind = header, str(header.values.get("general.architecture", ""))
        self.layers = self.number("block_count")
        if self.layers > LAYERS:
            raise ValueError(f"a model of {self.layers} layers")

    def number(self, key: str, default: float = 0) -> int:
        found = self._header.values.get(f"{self._kind}.{key}", default)
        if isinstance(found, int | float) and not abs(found) < 2**63:
            raise ValueError(f"{key} is {found}")
        return int(found) if isinstance(found, int | float) else int(default)

    def per_layer(self, key: str, default: int) -> list[int]:
        listed = self._header.lists.get(f"{self._kind}.{key}")
        return [int(one) for one in listed] if listed else [self.number(key, default)] * self.layers


def layout(header: Header) -> Layout:
    """Sizes that the header does not name are the model's width."""
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
    """Number of recurrent layers: all, those without KV heads, or all but every n-th."""
    if not fields.number("ssm.inner_size"):
        return 0
    if interval := fields.number("full_attention_interval"):
        return fields.layers - fields.layers // interval
    return key_heads.count(0) or fields.layers


def _state(fields: Fields) -> int:
    """State of one recurrent layer and stream: the convolution's history and the SSM state."""
    inner, size = fields.number("ssm.inner_size"), fields.number("ssm.state_size")
    convolved = inner + 2 * fields.number("ssm.group_count") * size
    return max(0, fields.number("ssm.conv_kernel") - 1) * convolved + inner * size


def _forward(header: Header, fields: Fields) -> int:
    """With a gate three times as wide: gate, gated value and product."""
    wide = max(fields.per_layer("feed_forward_length", 4 * fields.number("embedding_length")), default=0)
    up = header.shapes.get("blk.0.ffn_up.weight", (0, 0))[-1]
    gated = any(".ffn_gate" in name for name in header.shapes) or up > wide
    used, narrow = fields.number("expert_used_count"), fields.number("expert_feed_forward_length", wide)
    summed = used * (2 * fields.number("embedding_length") + narrow)  # output of each expert, and its weighted output
    return max(max(used * narrow, wide) * (3 if gated else 1), summed)


def context(header: Header, settings: ModelSettings) -> int:
    """Context of one request in tokens."""
    return settings.context or min(Fields(header).number("context_length"), CONTEXT_CAP)


def text(header: Header, settings: ModelSettings) -> Estimate:
    """A text model with all its memory in use: one stream of whole cells per slot and per retained prefix."""
    of = layout(header)
    slots = settings.slots or SLOTS["text"]
    retained = slots if settings.retained is None else settings.retained
    streams = slots + (0 if of.state else retained)  # recurrent states can be neither truncated nor copied
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
    """An embedding model, which processes a batch at once; a causal one stores K and V of the batch."""
    of = layout(header)
    batch = max(settings.batch or BATCH, context(header, settings))
    cells = -(-batch // CELLS) * CELLS
    kv = cells * (of.cell + of.near) * F16 if of.causal else 0
    texts = settings.slots or SLOTS["embedding"]
    seen = cells if of.causal else batch
    compute = _compute(of, batch, (seen, seen), 0, settings.flash_attention is False)
    return Estimate(header.weights or 0, kv, compute + texts * (of.words + of.width) * F32)


def _near(of: Layout, cells: int, batch: int) -> int:
    """Cells of a stream in sliding-window layers: the window plus one step."""
    return min(cells, -(-(of.window + batch) // CELLS) * CELLS)


def _compute(of: Layout, batch: int, cells: tuple[int, int], rows: int, plain: bool) -> int:
    """Peak memory of a step: in attention, in the feed-forward part, or at the logits.

    `cells`: per stream, for full attention and for sliding windows; each kind has its own mask. `plain`: no flash
    attention, so that the scores of all heads exist at once. The last layer continues with the needed rows only, so
    its feed-forward part is not counted.
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
