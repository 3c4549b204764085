"""When the draft model is used: almost never at a loss, whatever its cost and accuracy, and again once it is right."""

import random
from dataclasses import dataclass, field

import pytest
from llmctld.engine.core.draft_model import CallTime, DraftModel, DraftRequest, Proposal
from llmctld.engine.core.draft_policy import TRY_SHARE, Accuracy, DraftPolicy
from llmctld.engine.drafts.speculation import Drafts, Speculation
from llmctld.engine.streams.sequence import Sequence

from tests.bench.bench_draft import agreeing

STEP_MS = 10.0
VOCABULARY = 10_000


@dataclass
class Oracle(DraftModel):
    """Knows the whole text; `right` is the chance of a correct token at each position."""

    text: list[int]
    right: list[float]
    ms: float
    """A call for one row; each further row costs a tenth of that."""
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    took: list[CallTime] = field(default_factory=list)
    agreed: int = 0
    spent: float = 0.0
    calls: int = 0

    def seat(self, running: dict[int, list[int]]) -> None:
        """There is only one sequence."""

    def tokens_missing(self, id: int, length: int) -> int:
        return max(1, length - self.agreed)

    def propose(self, asks: dict[int, DraftRequest]) -> dict[int, Proposal]:
        return {id: self._say(len(tokens), most) for id, (tokens, most) in asks.items()}

    def _say(self, at: int, most: int) -> Proposal:
        tokens = [
            self.text[place] if self.dice.random() < self.right[place] else -1
            for place in range(at, min(at + most, len(self.text)))
        ]
        for rows in [self.tokens_missing(0, at), *[1] * (len(tokens) - 1)]:
            self.took.append(CallTime(1, rows, self.ms * (1 + (rows - 1) / 10)))
        self.spent += sum(took.ms for took in self.took)
        self.agreed, self.calls = at, self.calls + 1
        return Proposal(tokens, [0.9] * len(tokens), False)


@dataclass
class Answered:
    drafted: int = 0
    accepted: int = 0
    ms: float = 0.0
    speed: float = 0.0
    """Over the same answer without drafts."""


def answer(model: Oracle, prompt: int, row_cost: float | list[float], asking: DraftPolicy | None = None) -> Answered:
    """Generates the text after its first `prompt` + 1 tokens as the engine would. `row_cost`: relative to a step with one
    row, the cost of each further row; or a list of the costs of steps with 1, 2, 3, ... rows."""
    asking, speculation, done = asking or DraftPolicy(model), Speculation(), Answered()
    text = model.text
    sequence = Sequence(0, text[: prompt + 1], prompt, len(text) - prompt, stream=0, drafts=Drafts())
    while len(sequence.tokens) < len(text):
        at, before = len(sequence.tokens), model.spent
        draft = asking.drafts({0: sequence}, 512, speculation)[0]
        accepted = agreeing(draft, text[at:])
        took = STEP_MS * (row_cost[len(draft)] if isinstance(row_cost, list) else 1 + row_cost * len(draft))
        speculation.measured({0: 1 + len(draft)}, took)
        sequence.tokens += text[at : at + accepted + 1]
        done.drafted += len(draft)
        done.accepted += accepted
        done.ms += took + model.spent - before
    done.speed = (len(text) - prompt - 1) * STEP_MS / done.ms
    return done


def noise(length: int) -> list[int]:
    """A text without repeated tokens."""
    return random.Random(3).sample(range(VOCABULARY), length)


def oracle(right: float, ms: float, length: int = 1000) -> Oracle:
    return Oracle(noise(length), [right] * length, ms)


@pytest.mark.parametrize("row_cost", [0.02, 0.25, 1.0])
@pytest.mark.parametrize("ms", [0.3, 3.0, 12.0])
@pytest.mark.parametrize("right", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_draft_model_costs_at_most_a_few_percent_of_speed(right: float, ms: float, row_cost: float) -> None:
    """If a row costs as much as a whole step, each trial is expensive: hence the lower bound there."""
    assert answer(oracle(right, ms), 20, row_cost).speed >= (0.92 if row_cost == 1 else 0.95)


@pytest.mark.parametrize("right", [0.0, 0.5, 0.7, 0.85, 1.0])
def test_little_speed_is_lost_when_two_rows_cost_twice_as_much_as_one(right: float) -> None:
    """The costs measured with float32 weights: 2.7 ms for one row, 6.3 for two, 8.1 for four, and then little more."""
    rows = [1, 2.3, 2.8, 3.0, *(3 + 0.1 * at for at in range(1, 13))]
    assert answer(oracle(right, 0.5), 20, rows).speed >= 0.95


@pytest.mark.parametrize(
    ("right", "ms", "row_cost", "speed"),
    [(1.0, 0.3, 0.02, 5), (0.8, 0.5, 0.02, 2), (0.8, 1.0, 0.25, 1.3), (1.0, 3, 0.1, 1.8)],
)
def test_accurate_cheap_draft_model_pays_off(right: float, ms: float, row_cost: float, speed: float) -> None:
    assert answer(oracle(right, ms), 20, row_cost).speed >= speed


def test_draft_model_that_is_always_wrong_is_switched_off() -> None:
    done = answer(model := oracle(0.0, 1.0), 20, 0.1)
    assert done.accepted == 0
    assert done.drafted < 100
    assert model.calls < 20
    assert model.spent < 2 * TRY_SHARE * done.ms


def test_draft_model_as_slow_as_the_model_itself_is_switched_off() -> None:
    done = answer(oracle(1.0, STEP_MS), 20, 0.25)
    assert done.drafted < 50


def test_draft_model_is_retried_and_used_once_its_drafts_become_right() -> None:
    """No draft is right for a thousand tokens, then all are."""
    model = Oracle(noise(3000), [0.0] * 1000 + [1.0] * 2000, 0.5)
    done = answer(model, 20, 0.05)
    assert done.accepted > 1000
    assert done.speed > 1.3


def test_draft_model_does_not_read_a_long_prompt_for_a_short_answer() -> None:
    """Reading costs the time of 400 steps for 30 tokens. Warmed up first, since the first call reads in order to measure."""
    warm = oracle(0.9, 1.0)
    asking = DraftPolicy(warm)
    answer(warm, 20, 0.05, asking)
    short = oracle(0.9, 1.0, 4030)
    asking._model = short
    done = answer(short, 4000, 0.05, asking)
    assert short.calls == 0
    assert done.drafted == 0


def test_repeated_text_is_drafted_from_the_text_not_by_the_draft_model() -> None:
    text = noise(40) * 20
    model = Oracle(text, [0.5] * len(text), 1.0)
    done = answer(model, 80, 0.05)
    assert done.accepted > 0.8 * (len(text) - 80)
    assert model.calls < 10


def test_each_running_request_has_its_own_draft_accuracy() -> None:
    """Two texts in the same steps: the draft model knows one and not the other."""
    texts = [noise(1200), [token + VOCABULARY for token in noise(1200)]]
    asking, speculation = DraftPolicy(known := Two(texts)), Speculation()
    sequences = {at: Sequence(at, text[:21], 20, 1000, stream=at, drafts=Drafts()) for at, text in enumerate(texts)}
    drafted = [0, 0]
    for _ in range(200):
        drafts = asking.drafts(sequences, 512, speculation)
        speculation.measured({at: 1 + len(draft) for at, draft in drafts.items()}, STEP_MS)
        for at, sequence in sequences.items():
            drafted[at] += len(drafts[at])
            said = len(sequence.tokens)
            sequence.tokens += texts[at][said : said + 1 + agreeing(drafts[at], texts[at][said:])]
        known.took.clear()
    assert len(sequences[0].tokens) > 2 * len(sequences[1].tokens)
    assert drafted[1] < drafted[0] / 4


class Two(Oracle):
    """Knows the first text and nothing of the second."""

    def __init__(self, texts: list[list[int]]) -> None:
        super().__init__(texts[0], [1.0] * len(texts[0]), 0.5)

    def propose(self, asks: dict[int, DraftRequest]) -> dict[int, Proposal]:
        said = super().propose(asks)
        return {id: each if id == 0 else each._replace(tokens=[-1] * len(each.tokens)) for id, each in said.items()}


def test_drafted_tokens_are_judged_when_the_real_token_arrives_however_late() -> None:
    fared = Accuracy()
    before = fared.rates
    fared.note(2, Proposal([5, 6, 7], [0.9, 0.9, 0.9], True))
    fared.read([1, 2])
    assert fared.rates == before
    fared.read([1, 2, 5])
    first = fared.rates
    assert first.right > before.right
    fared.read([1, 2, 5, 6, 8])  # the third is wrong, and the doubted end behind it is not counted
    assert fared.rates.right < (2 + 3 * before.right) / 5
    last = fared.rates
    fared.read([1, 2, 5, 6, 8, 9, 9])
    assert fared.rates == last


def test_empty_drafts_count_as_nothing_proposed() -> None:
    fared = Accuracy()
    for at in range(30):
        fared.note(at, Proposal([], [], True))
        fared.read([0] * (at + 1))
    assert fared.rates.right < 0.1
    assert fared.rates.said < 0.15


def test_new_request_starts_with_the_accuracy_of_the_others() -> None:
    everywhere = Accuracy()
    one = Accuracy(everywhere)
    for at in range(50):
        one.note(at, Proposal([1], [0.9], False))
        one.read([1] * (at + 1))
    assert Accuracy(everywhere).rates.right > 0.9
    assert Accuracy(everywhere).chances(3)[2] > 0.7
