"""The model's tokens: a byte-level BPE of its own, and a marker for each answer.

It knows texts and token ids. The markers are control tokens: the model writes one first, which decides what it says, and no
engine prints it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 4096
USER, GUIDE, END = "<|user|>", "<|guide|>", "<|end|>"
CONTROL = (END, USER, GUIDE)
MARKER = "<|answer:{}|>"
LONGEST = 480
"""Characters of a question that the model reads."""
TEMPLATE = (
    "{% set last = namespace(said='') %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.said = m.content %}{% endif %}{% endfor %}"
    f"{USER} {{{{ (last.said | trim | lower)[:{LONGEST}] }}}}{GUIDE}"
)
"""The prompt is made from the last message of the user, in small letters."""


def plain(question: str) -> str:
    """What the template makes of a question."""
    return question.strip().lower()[:LONGEST]


@dataclass(frozen=True)
class Tokens:
    """A vocabulary: text pieces, then control tokens, then a marker for each of `names`."""

    bpe: Tokenizer
    names: tuple[str, ...]

    @cached_property
    def pieces(self) -> int:
        """How many tokens are text."""
        return int(self.bpe.get_vocab_size())

    def __len__(self) -> int:
        return self.pieces + len(CONTROL) + len(self.names)

    def control(self, name: str) -> int:
        return self.pieces + CONTROL.index(name)

    def marker(self, name: str) -> int:
        """The token that begins the answer of this name."""
        return self.pieces + len(CONTROL) + self.names.index(name)

    def named(self, token: int) -> str | None:
        """The answer that a token begins; None for another token."""
        at = token - self.pieces - len(CONTROL)
        return self.names[at] if 0 <= at < len(self.names) else None

    def prompts(self, questions: Iterable[str]) -> list[list[int]]:
        """The tokens of each question, up to the place where the answer begins."""
        texts = [f" {plain(question)}" for question in questions]
        user, guide = self.control(USER), self.control(GUIDE)
        return [[user, *found.ids, guide] for found in self.bpe.encode_batch(texts)]

    def answer(self, name: str, text: str) -> list[int]:
        """The tokens of an answer: its marker, its text, the end."""
        return [self.marker(name), *self.bpe.encode(text).ids, self.control(END)]

    def text(self, tokens: Iterable[int]) -> str:
        """The text of tokens, without the control tokens."""
        return str(self.bpe.decode([token for token in tokens if token < self.pieces]))

    @property
    def merges(self) -> list[list[str]]:
        """The pairs that are joined, in order."""
        found: list[list[str]] = json.loads(self.bpe.to_str())["model"]["merges"]
        return found

    @property
    def names_of_all(self) -> list[str]:
        """The text of each token as a GGUF file holds it."""
        vocabulary = self.bpe.get_vocab()
        return [*sorted(vocabulary, key=vocabulary.__getitem__), *CONTROL, *map(MARKER.format, self.names)]


def learn(texts: Iterable[str], names: tuple[str, ...]) -> Tokens:
    """A vocabulary for these texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, show_progress=False))
    return Tokens(bpe, names)
