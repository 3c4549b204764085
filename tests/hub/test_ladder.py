"""What is learned from engine crashes: for which models, for how long, and what resets it."""

import os
import time
from pathlib import Path

import msgspec
import pytest
from llmctld.models.engines import ladder as ladders
from llmctld.models.engines.ladder import Descent, FileKind, Ladder, LadderState
from llmctld.models.machine.build import build, processor

from llmctl.errors import ModelUnavailable

KIND = FileKind("Q4_K Q6_K", "llama")


def descent(ladder: Ladder, model: str = "one", kind: FileKind = KIND, paths: list[Path] | None = None) -> Descent:
    return ladder.descent("m", model, kind, paths or [])


def fallen(ladder: Ladder, model: str = "one", kind: FileKind = KIND) -> Descent:
    """Records a load that crashed on the first rung and succeeded on the second."""
    found = descent(ladder, model, kind)
    assert found.crashed_at_load("SIGSEGV")
    found.loaded()
    return found


@pytest.fixture
def ladder(tmp_path: Path) -> Ladder:
    return Ladder(tmp_path / "rungs.json")


def test_files_of_the_same_kind_start_on_the_working_rung(ladder: Ladder, tmp_path: Path) -> None:
    fallen(ladder)
    for known in (ladder, Ladder(tmp_path / "rungs.json")):
        assert descent(known, "another").rung.name == "no AMX"
        assert descent(known, "another", FileKind(KIND.types, "qwen3")).rung.name == "no AMX"
        assert descent(known, "another", FileKind("Q4_K", "llama")).rung.name == "as it is"


def test_a_crash_below_the_first_rung_is_blamed_on_the_architecture(ladder: Ladder) -> None:
    found = descent(ladder)
    assert [found.crashed_at_load("SIGABRT"), found.crashed_at_load("SIGABRT")] == [True, True]
    found.loaded()
    assert descent(ladder, "another").rung.name == "no extra buffers"
    assert descent(ladder, "another", FileKind(KIND.types, "qwen3")).rung.name == "as it is"


def test_failed_load_does_not_affect_other_models(ladder: Ladder) -> None:
    descent(ladder).crashed_at_load("SIGSEGV")
    assert descent(ladder, "another").rung.name == "as it is"


def test_new_build_resets_the_ladder_but_another_processor_does_not(
    ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fallen(ladder)
    monkeypatch.setattr(ladders, "processor", lambda: "another machine that shares this home")
    other = Ladder(tmp_path / "rungs.json")
    assert descent(other).rung.name == "as it is"
    fallen(other)
    monkeypatch.setattr(ladders, "processor", processor)
    assert descent(Ladder(tmp_path / "rungs.json")).rung.name == "no AMX"
    monkeypatch.setattr(ladders, "build", lambda: "a newer one")
    newer = Ladder(tmp_path / "rungs.json")
    assert descent(newer).rung.name == "as it is"
    fallen(newer, kind=FileKind("Q8_0"))
    kept = msgspec.json.decode((tmp_path / "rungs.json").read_bytes(), type=LadderState)
    assert {(it.build, it.of) for it in kept.kinds if it.processor == processor()} == {("a newer one", "Q8_0")}


def test_the_build_changes_with_the_files_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = build()
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    empty = build()
    library = tmp_path / "libllama.so"
    library.write_bytes(b"one")
    first = build()
    os.utime(library, ns=(1, 1))
    assert len({own, empty, first, build()}) == 4
    assert build() == build()


def test_model_that_crashes_on_every_rung_is_refused_until_explicitly_loaded(ladder: Ladder, tmp_path: Path) -> None:
    found = descent(ladder)
    assert [found.crashed_at_load(cause) for cause in ("SIGSEGV", "SIGILL", "SIGABRT", "SIGFPE")] == [
        True,
        True,
        True,
        False,
    ]
    said = found.failed_everywhere().message
    with pytest.raises(ModelUnavailable) as caught:
        descent(Ladder(tmp_path / "rungs.json"))
    assert caught.value.message == said
    for rung, cause in (("as it is", "SIGSEGV"), ("no AMX", "SIGILL"), ("no flash attention", "SIGFPE")):
        assert f"{rung!r} ({cause})" in said
    assert "built for a newer processor" not in caught.value.hint
    assert descent(ladder, "another").rung.name == "as it is"
    ladder.retry("one")
    assert descent(ladder).rung.name == "as it is"
    before = (tmp_path / "rungs.json").stat()
    ladder.retry("another")
    assert (tmp_path / "rungs.json").stat() == before, "without changes the file is not written"


def test_bus_errors_count_for_one_day_even_on_every_rung(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = descent(ladder)
    while found.crashed_at_load("SIGBUS"):
        pass
    found.failed_everywhere()
    later = time.time() + ladders.AGAIN_S
    with pytest.raises(ModelUnavailable):
        descent(ladder)
    monkeypatch.setattr(time, "time", lambda: later)
    assert descent(ladder).rung.name == "as it is"


def test_crash_at_work_counts_for_a_day_once_a_lower_rung_has_answered(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert descent(ladder).crashed_at_work("SIGSEGV")
    assert descent(ladder, "another").rung.name == "as it is", "nothing is proven until a lower rung has answered"
    lower = descent(ladder)
    assert lower.rung.name == "no AMX"
    lower.confirm()
    assert descent(ladder, "another").rung.name == "no AMX"
    later = time.time() + ladders.AGAIN_S
    monkeypatch.setattr(time, "time", lambda: later)
    assert descent(ladder, "another").rung.name == "as it is"


def test_request_that_crashes_every_rung_is_blamed_itself(ladder: Ladder) -> None:
    other = descent(ladder, "another")
    assert other.crashed_at_work("SIGABRT")
    descent(ladder, "another").confirm()  # learned from another model's request
    steps = [descent(ladder).crashed_at_work("SIGABRT") for _ in range(3)]
    assert steps == [True, True, False]
    assert descent(ladder).rung.name == descent(ladder, "another").rung.name == "as it is"
    assert not descent(ladder).crashed_at_work("SIGABRT"), "no further rung is tried for it"


def test_crash_at_load_is_remembered_after_crashes_at_work_are_dismissed(ladder: Ladder) -> None:
    fallen(ladder)
    while descent(ladder).crashed_at_work("SIGABRT"):
        pass
    assert descent(ladder).rung.name == "no AMX"


def test_changed_model_files_are_reported(tmp_path: Path, ladder: Ladder) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"12345")
    found = descent(ladder, paths=[path])
    assert found.changed_files() == ""
    path.write_bytes(b"123")
    assert found.changed_files() == f"{path} had 5 bytes when it was loaded and has 3 now"
    found = descent(ladder, paths=[path])
    (tmp_path / "new.gguf").write_bytes(b"1234567")
    (tmp_path / "new.gguf").replace(path)
    assert found.changed_files() == "", "the file that was opened still exists"
    found = descent(ladder, paths=[path])
    path.rename(tmp_path / "elsewhere")
    assert found.changed_files().startswith(f"{path} can no longer be read")


def test_sigill_on_every_rung_means_a_library_for_another_processor(ladder: Ladder) -> None:
    found = descent(ladder)
    while found.crashed_at_load("SIGILL"):
        pass
    assert "built for a newer processor" in found.failed_everywhere().hint


def test_crash_that_was_noted_while_the_clock_was_ahead_does_not_count_for_years(
    ladder: Ladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + 20 * 365 * 86_400.0)
        found = descent(ladder)
        while found.crashed_at_load("SIGBUS"):
            pass
        found.failed_everywhere()
    assert descent(ladder).rung.name == "as it is"
