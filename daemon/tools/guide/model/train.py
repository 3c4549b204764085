"""The training: seeded, shows how far it is, and goes on where it was killed.

It knows the samples, the network and the file in which it keeps its state; what the result is worth is measured elsewhere.
"""

import math
import os
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from tools.guide.model.network import Network, Shape
from tools.guide.model.samples import MARKED, Batch, Samples, batches, steps, vocabulary
from tools.guide.model.tokens import Tokens
from torch import Tensor
from torch.nn import functional as F

RATES = {"tables": 1.5e-3, "vectors": 2e-3, "words": 6e-3, "matrices": 2e-2}
"""Learning rates at their top: of the tokens' table, of the norms, and of the matrices, which Muon turns (Adam took three times
as many questions). The first layer, which knows the words already, learns slowly: the score fell by six points otherwise."""
WARM, DECAY, SMOOTH, AVERAGE = 40, 0.01, 0.05, 0.99
"""Steps up to the top, weight decay, label smoothing, and how slowly the average of the weights follows."""
DROPPED = 0.1
"""Dropout: the patterns and people's lines are learned by heart otherwise."""
LAST, LAST_RATE = 0.45, 0.3
"""The share of the chunks that is a second wave, with more questions in each chunk, and its rates as a share of the first ones.
The first wave learns the answers by heart, and knows the questions less well than the bag of words did."""
WORDS, WORDS_RATE = 24, 8e-3
"""Chunks for the bag of words as which the network begins, and their learning rate."""


@dataclass
class Trained:
    """A network with its tokens, the seed, and the seconds of processor time and the questions that it took."""

    network: Network
    tokens: Tokens
    seed: int
    seconds: float
    questions: int


class Optimizer:
    """Adam for the table of tokens and the norms, Muon for the matrices; one schedule for both."""

    def __init__(self, network: Network) -> None:
        kinds: dict[str, list[Tensor]] = {kind: [] for kind in RATES}
        for name, weight in network.named_parameters():
            kinds[_kind(name, weight)].append(weight)
        groups, turned = (
            [{"params": kinds[kind], "lr": RATES[kind]} for kind in pair]
            for pair in (("tables", "vectors"), ("words", "matrices"))
        )
        self._parts = {
            "adam": torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=DECAY, fused=True),
            "muon": torch.optim.Muon(turned, weight_decay=DECAY),
        }
        self._tops = {name: [group["lr"] for group in part.param_groups] for name, part in self._parts.items()}

    def warm(self, step: int, total: int, top: float) -> None:
        """The rates of this step: up to a share of their tops in a line, then down to zero in a half wave."""
        share = top * min(1.0, (step + 1) / WARM) * (1 + math.cos(math.pi * min(1.0, step / total))) / 2
        for name, part in self._parts.items():
            for group, top in zip(part.param_groups, self._tops[name], strict=True):
                group["lr"] = top * share

    def zero_grad(self) -> None:
        for part in self._parts.values():
            part.zero_grad()

    def step(self) -> None:
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def _kind(name: str, weight: Tensor) -> str:
    if weight.ndim == 1:
        return "vectors"
    return "tables" if name.startswith("token_embd") else "words" if name.startswith("blk.0.") else "matrices"


def train(samples: Samples, chunks: int, folder: Path, key: str) -> Trained:
    """Train on so many chunks, or go on from what `folder` holds of this `key` (hash of the texts), seed and length."""
    torch.manual_seed(samples.seed)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"seed-{samples.seed}.pt"
    state = _saved(file, f"{key}/{chunks}") or _fresh(samples, f"{key}/{chunks}")
    tokens = Tokens(Tokenizer.from_str(state["bpe"]), tuple(state["names"]))
    network, average = (Network(Shape(len(tokens)), DROPPED) for _ in range(2))
    optimizer = Optimizer(network)
    for part, name in ((network, "network"), (average, "average"), (optimizer, "optimizer")):
        if name in state:
            part.load_state_dict(state[name])
    if "average" not in state:
        began = time.process_time()
        _learn_words(network, tokens, samples)
        state["seconds"] += time.process_time() - began
        average.load_state_dict(network.state_dict())
    fewer = replace(samples, size=min(samples.size, MARKED))
    first = chunks - int(chunks * LAST)
    total = first * steps(fewer.size)
    with _progress() as progress:
        bar = progress.add_task(f"seed {samples.seed}", total=chunks, completed=state["chunk"], loss=0.0, hits=0.0)
        for chunk in range(state["chunk"], chunks):
            began = time.process_time()
            rng, drawn = random.Random(f"{samples.seed}:{chunk}"), (fewer if chunk < first else samples).chunk(chunk)
            torch.manual_seed(samples.seed * 100_003 + chunk)
            state["questions"] += len(drawn)
            for batch in batches(drawn, tokens, rng):
                if chunk < first:
                    optimizer.warm(state["step"], total, 1)
                else:
                    optimizer.warm(max(0, state["step"] - total), (chunks - first) * steps(samples.size), LAST_RATE)
                loss, hits = _step(network, optimizer, batch)
                _follow(average, network, min(AVERAGE, state["step"] / (state["step"] + 10)))
                state["step"] += 1
            state["chunk"], state["seconds"] = chunk + 1, state["seconds"] + time.process_time() - began
            progress.update(bar, completed=chunk + 1, loss=loss, hits=hits)
            _save(file, state, network, average, optimizer)
    return Trained(average.eval(), tokens, samples.seed, state["seconds"], state["questions"])


def _learn_words(network: Network, tokens: Tokens, samples: Samples) -> None:
    """The meaning of single words, before their order: which answer a bag of them asks for."""
    optimizer = torch.optim.Adam([network.token_embd.weight], WORDS_RATE, betas=(0.9, 0.98), fused=True)
    for chunk in range(WORDS):
        for batch in batches(samples.chunk(-100 - chunk), tokens, random.Random(chunk), recite=False):
            table, wanted = padded(batch)
            at = wanted.argmax(1)
            logits = network.logits(network.words(table, at))
            loss = F.cross_entropy(logits, wanted[torch.arange(len(at)), at], label_smoothing=SMOOTH)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = WORDS_RATE * (1 - (chunk + 1) / WORDS * 0.9)


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


def _save(file: Path, state: dict[str, Any], network: Network, average: Network, optimizer: Optimizer) -> None:
    parts = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    written = file.with_suffix(".new")
    torch.save(state | parts, written)
    os.replace(written, file)


def _step(network: Network, optimizer: Optimizer, batch: Batch) -> tuple[float, float]:
    """One step of learning; the loss, and the share of first tokens that were right."""
    network.train()
    tokens, wanted = padded(batch)
    at = wanted >= 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.logits(network(tokens)[at])
    recites = len(batch[1][0]) > 1  # word for word, so nothing is smoothed
    loss = F.cross_entropy(logits.float(), wanted[at], label_smoothing=0.0 if recites else SMOOTH)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
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


@torch.no_grad()
def _follow(average: Network, network: Network, slowness: float) -> None:
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - slowness)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]:.3f}  right {task.fields[hits]:.1%}"), TimeRemainingColumn(),
    )  # fmt: skip
