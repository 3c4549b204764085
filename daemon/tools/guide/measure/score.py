"""The score of a list of answers: right ones, refusals that should be, refusals that should not be.

It knows questions and answers, not who gave them: the model, or the baseline beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.guide.measure.questions import Question
from tools.guide.texts import unrelated
from tools.guide.texts.answers import command_line

from tests.guide import lines


@dataclass(frozen=True)
class Score:
    """Counts over questions about llmctl, over others, and over the near ones among these."""

    right: int
    false_refusals: int
    about: int
    refused: int
    others: int
    refused_near: int
    near: int

    def __str__(self) -> str:
        return (
            f"right {share(self.right, self.about)}, false refusals {share(self.false_refusals, self.about)}, "
            f"refused {share(self.refused, self.others)}, of these near {share(self.refused_near, self.near)}"
        )


def share(part: int, whole: int) -> str:
    """As `85.4 % (205 of 240)`."""
    return f"{part / max(whole, 1):.1%} ({part} of {whole})".replace("%", " %")


def refuses(answer: str) -> bool:
    """Whether the answer is a refusal, by the words with which one begins."""
    return answer.startswith(unrelated.first_words())


def right(question: Question, answer: str) -> bool:
    """Whether the first command line of the answer is one of the right ones, and one that the live command line takes."""
    line = command_line(answer)
    return not refuses(answer) and line is not None and lines.is_right(answer, line, question.right, question.setting)


def score(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    """The counts."""
    pairs = list(zip(questions, answers, strict=True))
    about = [pair for pair in pairs if pair[0].about]
    others = [pair for pair in pairs if not pair[0].about]
    near = [pair for pair in others if pair[0].near]
    return Score(
        right=sum(right(*pair) for pair in about),
        false_refusals=sum(refuses(answer) for _, answer in about),
        about=len(about),
        refused=sum(refuses(answer) for _, answer in others),
        others=len(others),
        refused_near=sum(refuses(answer) for _, answer in near),
        near=len(near),
    )
