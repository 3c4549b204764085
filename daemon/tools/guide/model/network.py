"""The network in torch: llama's architecture as llama.cpp computes it, small.

It knows token ids and logits. Rotary positions turn neighbouring numbers, so that the file needs no reordering.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """How large the network is."""

    tokens: int
    dim: int = 192
    layers: int = 2
    heads: int = 6
    hidden: int = 512
    context: int = 512
    base: float = 10_000.0
    epsilon: float = 1e-5


class Layer(nn.Module):
    """Attention, then a gated feed-forward part; each adds to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attn_norm = nn.RMSNorm(shape.dim, shape.epsilon)
        self.ffn_norm = nn.RMSNorm(shape.dim, shape.epsilon)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (
            nn.Linear(shape.dim, shape.dim, bias=False) for _ in range(4)
        )
        self.ffn_gate, self.ffn_up = (nn.Linear(shape.dim, shape.hidden, bias=False) for _ in range(2))
        self.ffn_down = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor, turn: Tensor, drop: float) -> Tensor:
        y = self.attn_norm(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.attn_q, self.attn_k, self.attn_v)
        )
        y = attended(turned(q, turn), turned(k, turn), v)
        x = x + F.dropout(self.attn_output(y.transpose(1, 2).flatten(2)), drop, self.training)
        y = self.ffn_norm(x)
        return x + F.dropout(self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y)), drop, self.training)


class Network(nn.Module):
    """Tokens in, a state for each out; `logits` of a state are over the tokens, through the same table."""

    def __init__(self, shape: Shape, drop: float = 0.0) -> None:
        super().__init__()
        self.shape, self.drop = shape, drop
        self.token_embd = nn.Embedding(shape.tokens, shape.dim)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.dim, shape.epsilon)
        wide = shape.dim // shape.heads
        turns = torch.outer(torch.arange(shape.context), shape.base ** (-torch.arange(0, wide, 2) / wide))
        self.turns: Tensor
        self.register_buffer("turns", torch.stack([turns.cos(), turns.sin()]), persistent=False)
        self._begin_with_words()

    @torch.no_grad()
    def _begin_with_words(self) -> None:
        """Begin as a bag of words: the first layer takes the mean of all tokens, the others add nothing."""
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, 0, 0.02)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(weight)
            if name.startswith(("blk.0.attn_v", "blk.0.attn_output")):
                nn.init.eye_(weight)

    def words(self, tokens: Tensor, at: Tensor) -> Tensor:
        """The state of the last token of each row (`at`) while the network is a bag of words; quick."""
        x = self.token_embd(tokens)
        there = (torch.arange(tokens.shape[1]) <= at[:, None]).unsqueeze(-1)
        first = self.blk[0]
        assert isinstance(first, Layer)
        mean = (first.attn_norm(x) * there).sum(1) / (at[:, None] + 1)
        out: Tensor = self.output_norm(x[torch.arange(len(at)), at] + mean)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        x = F.dropout(self.token_embd(tokens), self.drop, self.training)
        for layer in self.blk:
            x = layer(x, self.turns[:, : tokens.shape[1]], self.drop)
        out: Tensor = self.output_norm(x)
        return out

    def logits(self, state: Tensor) -> Tensor:
        out: Tensor = state @ self.token_embd.weight.T
        return out


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention to this and earlier places. Written out: torch's own is several times slower backwards on short texts."""
    places = q.shape[-2]
    later = torch.ones(places, places, dtype=torch.bool).triu(1)
    weights: Tensor = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(later, -torch.inf).softmax(-1)
    out: Tensor = weights @ v
    return out


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Each pair of neighbouring numbers turned by the angle of its position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = turn
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
