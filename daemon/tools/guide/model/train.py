"""The training: seeded, shows how far it is, and goes on where it was killed.

It knows the samples, the network and the file in which it keeps its state; what the result is worth is measured elsewhere.
"""

import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from tools.guide.model.network import Network, Shape
from tools.guide.model.samples import BATCH, CHUNK, Batch, Samples, batches, vocabulary
from tools.guide.model.tokens import Tokens

RATE, WARM, DECAY, SMOOTH, AVERAGE = 2e-3, 50, 0.05, 0.05, 0.99
"""Learning rate at its top, steps up to it, weight decay, label smoothing, and how slowly the average of the weights follows."""
SAVE_S = 30


@dataclass
class Trained:
    """A network with its tokens, the seed, and the seconds and questions that it took."""

    network: Network
    tokens: Tokens
    seed: int
    seconds: float
    questions: int


def train(samples: Samples, chunks: int, folder: Path, key: str) -> Trained:
    """Train on so many chunks, or go on from what `folder` holds of this `key` (hash of the texts), seed and length."""
    torch.manual_seed(samples.seed)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"seed-{samples.seed}.pt"
    state = _saved(file, f"{key}/{chunks}") or _fresh(samples, f"{key}/{chunks}")
    tokens = Tokens(Tokenizer.from_str(state["bpe"]), tuple(state["names"]))
    network, average = (Network(Shape(len(tokens))) for _ in range(2))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.98), weight_decay=DECAY, fused=True)
    for part, name in ((network, "network"), (average, "average"), (optimizer, "optimizer")):
        if name in state:
            part.load_state_dict(state[name])
    if "average" not in state:
        average.load_state_dict(network.state_dict())
    saved, total = time.monotonic(), chunks * (1 + CHUNK // BATCH)
    with _progress() as progress:
        bar = progress.add_task(f"seed {samples.seed}", total=chunks, completed=state["chunk"], loss=0.0, hits=0.0)
        for chunk in range(state["chunk"], chunks):
            began = time.monotonic()
            rng, drawn = random.Random(f"{samples.seed}:{chunk}"), samples.chunk(chunk)
            torch.manual_seed(samples.seed * 100_003 + chunk)
            state["questions"] += len(drawn)
            for batch in batches(drawn, tokens, rng):
                _rate(optimizer, state["step"], total)
                loss, hits = _step(network, optimizer, batch)
                _follow(average, network, min(AVERAGE, state["step"] / (state["step"] + 10)))
                state["step"] += 1
            state["chunk"], state["seconds"] = chunk + 1, state["seconds"] + time.monotonic() - began
            progress.update(bar, completed=chunk + 1, loss=loss, hits=hits)
            if time.monotonic() - saved > SAVE_S or chunk + 1 == chunks:
                saved = time.monotonic()
                _save(file, state, network, average, optimizer)
    return Trained(average.eval(), tokens, samples.seed, state["seconds"], state["questions"])


def _fresh(samples: Samples, key: str) -> dict[str, Any]:
    tokens = vocabulary(samples)
    return {
        "key": key, "bpe": tokens.bpe.to_str(), "names": list(tokens.names),
        "chunk": 0, "step": 0, "seconds": 0.0, "questions": 0,
    }  # fmt: skip


def _saved(file: Path, key: str) -> dict[str, Any] | None:
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state if state["key"] == key else None


def _save(file: Path, state: dict[str, Any], network: Network, average: Network, optimizer: torch.optim.Optimizer) -> None:
    parts = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    written = file.with_suffix(".new")
    torch.save(state | parts, written)
    os.replace(written, file)


def _step(network: Network, optimizer: torch.optim.Optimizer, batch: Batch) -> tuple[float, float]:
    """One step of learning; the loss, and the share of first tokens that were right."""
    network.train()
    tokens, wanted = padded(batch)
    at = wanted >= 0
    logits = network.logits(network(tokens)[at])
    loss = F.cross_entropy(logits, wanted[at], label_smoothing=SMOOTH)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.item(), (logits.argmax(-1) == wanted[at]).float().mean().item()


def padded(batch: Batch) -> tuple[Tensor, Tensor]:
    """The batch as a table of tokens, and what follows each place of it; -1 where that is not learned."""
    rows = [prompt + after[:-1] for prompt, after in zip(*batch, strict=True)]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    wanted = torch.full_like(tokens, -1)
    for row, (prompt, after) in enumerate(zip(*batch, strict=True)):
        tokens[row, : len(rows[row])] = torch.tensor(rows[row])
        wanted[row, len(prompt) - 1 : len(rows[row])] = torch.tensor(after)
    return tokens, wanted


def _rate(optimizer: torch.optim.Optimizer, step: int, total: int) -> None:
    rate = RATE * min(1.0, (step + 1) / WARM) * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / total))) / 2)
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def _follow(average: Network, network: Network, slowness: float) -> None:
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - slowness)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.3f}  right {task.fields[hits]:.1%}"), TimeRemainingColumn(),
    )  # fmt: skip
