"""What the network says: the most likely token each time, in torch.

It is the reference for the file's answers through the real engine, which must be the same.
"""

from collections.abc import Sequence

import torch
from tools.guide.model.network import Network
from tools.guide.model.samples import answer
from tools.guide.model.tokens import END, Tokens


@torch.no_grad()
def markers(network: Network, tokens: Tokens, questions: Sequence[str]) -> list[str]:
    """The answer that the first token of each names; empty where it names none."""
    found = []
    for prompt in tokens.prompts(questions):
        state = network(torch.tensor([prompt]))[0, -1]
        found.append(tokens.named(int(network.logits(state).argmax())) or "")
    return found


@torch.no_grad()
def text(network: Network, tokens: Tokens, question: str, longest: int = 120) -> str:
    """The whole answer, token by token."""
    said = tokens.prompts([question])[0]
    begun = len(said)
    while len(said) < begun + longest:
        token = int(network.logits(network(torch.tensor([said]))[0, -1]).argmax())
        if token == tokens.control(END):
            break
        said.append(token)
    return tokens.text(said[begun:])


def recited(network: Network, tokens: Tokens, questions: Sequence[str]) -> float:
    """Share of these questions whose whole answer is word for word the one that its first token names."""
    named = markers(network, tokens, questions)
    same = [
        text(network, tokens, question) == (answer(name) if name else "")
        for question, name in zip(questions, named, strict=True)
    ]
    return sum(same) / len(same)
