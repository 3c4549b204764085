"""A twentieth of every attack of `make attack`, from one seed; and the harness itself."""

import random

import pytest

from tests.attack.__main__ import table
from tests.attack.attack import Attack, NotHere, Result, Trial, play
from tests.attack.registry import SURFACES, attacks, of
from tests.stress.scale import SEED

PLAYED = [pytest.param(surface, attack, id=f"{surface}-{attack.name}") for surface, attack in attacks()]


@pytest.mark.parametrize(("surface", "attack"), PLAYED)
def test_it_holds(surface: str, attack: Attack) -> None:
    result = play(surface, attack, SEED, whole=False)
    print(*result.trial.measured)
    if result.missing:
        pytest.skip(result.missing)
    assert result.held, "\n".join(result.trial.fell)


def test_every_surface_has_attacks_and_each_name_once() -> None:
    names = [attack.name for _, attack in attacks()]
    assert all(of(surface) for surface in SURFACES)
    assert len(set(names) | set(SURFACES)) == len(names) + len(SURFACES), "a row is chosen by either name"


def test_an_attack_that_raises_or_hangs_or_notes_something_did_not_hold() -> None:
    def raises(trial: Trial) -> None:
        raise ValueError("boom")

    def hangs(trial: Trial) -> None:
        while True:
            trial.dice.random()

    def notes(trial: Trial) -> None:
        trial.check(trial.count == 50, f"count {trial.count}")
        trial.check(False, "noted")

    def absent(trial: Trial) -> None:
        raise NotHere("needs root")

    results = [
        play("s", Attack(run.__name__, 1000, run, limit_s=1), 7, whole=False) for run in (raises, hangs, notes, absent)
    ]
    assert [result.trial.fell for result in results] == [
        ["ValueError: boom"],
        ["TimeoutError: no end within 1 s"],
        ["noted"],
        [],
    ]
    assert [result.verdict for result in results] == ["DID NOT HOLD"] * 3 + ["not played: needs root"]


def test_the_table_names_what_was_done_how_often_and_what_came_of_it() -> None:
    def nothing(trial: Trial) -> None:
        trial.measured.append("p99 3 ms")

    attack = Attack("odd things", 2000, nothing)
    lines = table(
        [play("some surface", attack, 7, whole=True), Result("s", attack, Trial(1, random.Random(7), fell=["x"]))]
    )
    assert [[cell.strip() for cell in line.split("|")] for line in lines] == [
        ["surface", "attack", "count", "", "measured"],
        ["some surface", "odd things", "2,000", "held", "p99 3 ms"],
        ["s", "odd things", "1", "DID NOT HOLD"],
    ]


def test_rows_are_chosen_by_surface_or_attack_and_a_wrong_name_is_told() -> None:
    surface, attack = attacks()[0]
    assert [row[0] for row in attacks(surface)] == [surface] * len(of(surface))
    assert [row[1].name for row in attacks(f" {attack.name},")] == [attack.name]
    with pytest.raises(LookupError, match="no attack is called frmes; there are"):
        attacks("frmes")
