"""Views are pure: the same table at two widths, without colour."""

import unicodedata
from pathlib import Path

import pytest

from llmctl import wire
from llmctl.config import ModelEntry
from llmctl.errors import counted
from llmctl.stores.stored import StoredModel
from llmctl.suggestions import Room, ranked
from llmctl.view import cache, config, daemon, found, models, suggest, table, units
from llmctl.view.printable import STEERING, Pieces, printable

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's classes of characters that embed, override or isolate a direction."""

ENTRIES = [
    ModelEntry(name="small", target="/models/" + "deep/" * 11 + "small.gguf", backend="llama", aliases=["s", "klein"]),
    ModelEntry(name="e", target="echo", backend="echo"),
]


def test_plain_columns_are_aligned_and_never_cut() -> None:
    text = table.plain(*models.models(ENTRIES, {"e": "ready"}))
    head, small, echo = text.splitlines()
    assert head.index("TARGET") == small.index("/models/") == echo.rindex("echo")
    assert small.endswith("small.gguf")
    assert len(small) > 80
    assert table.plain(["A"], []) == ""


@pytest.mark.parametrize(
    "text", [table.plain(["A"], [["a\x1b[2Jb"]]), table.fitted(["A"], [["a\x1b[2Jb"]], 80, colour=False)]
)
def test_control_characters_in_cells_are_escaped(text: str) -> None:
    assert text.splitlines()[1:] == ["a\\x1b[2Jb"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_width_of_the_terminal(width: int) -> None:
    text = table.fitted(*models.models(ENTRIES, {}), width, colour=False)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert (ENTRIES[0].target in text) is (width == 120), "whole where it fits, folded where not"
    assert "\x1b[1m" in table.fitted(*models.models(ENTRIES, {}), width)


def test_found_models_show_their_paths_where_there_is_room() -> None:
    content = wire.FileContent("/m.gguf", kind="text", architecture="llama", quantization="Q4_K_M", size_bytes=2**30)
    stored = StoredModel("lmstudio", "tale", Path("/models/two\nlines.gguf"))
    one = [found.FoundModel("tale", stored, content, "tale"), found.FoundModel("tale-2", stored, content, "mine")]
    for width in (80, 120):
        text = table.fitted(*found.table(one, width), width, colour=False)
        assert [line.split() for line in text.splitlines()[1:]] == [
            ["tale", "lmstudio", "text", "llama", "Q4_K_M", "1.0", "GiB", "no", "yes"],
            ["tale-2", "lmstudio", "text", "llama", "Q4_K_M", "1.0", "GiB", "no", "mine"],
        ]
    for text in (table.plain(*found.table(one, None)), table.fitted(*found.table(one, 200), 200, colour=False)):
        assert text.splitlines()[1].endswith("/models/two\\nlines.gguf")


def test_models_show_has_no_header() -> None:
    text = table.plain(*models.one(ENTRIES[0], None))
    assert text.splitlines()[0].split() == ["name", "small"]
    assert "not loaded" in text
    assert table.fitted(*models.one(ENTRIES[0], None), 80, colour=False).splitlines()[0].split() == ["name", "small"]


def test_cache_levels() -> None:
    stats = wire.CacheStats(levels=[wire.LevelStats("memory", 3, 1, 0, 2, 2048, 0.25)], requests=4, hit_rate=0.75)
    assert table.plain(*cache.levels(stats)).splitlines()[1].split() == [
        "memory", "3", "1", "0", "2", "2.0", "KiB", "0.25", "ms", "ok",
    ]  # fmt: skip
    assert cache.summary(stats).startswith("4 requests, 75.0 %")


def test_status_is_one_line() -> None:
    assert daemon.status(None) == "stopped"
    found = wire.HubStatus(
        state="running", pid=1, version="v", protocol=1, uptime_s=3700, socket="s", models=[], requests_in_flight=2
    )
    assert "up 1 h 1 min, 2 requests in flight, models loaded: none" in daemon.status(found)


def test_findings_and_settings() -> None:
    assert daemon.finding("disk", "ok", "fine", "nothing") == "ok    disk: fine"
    assert daemon.finding("disk", "fail", "full", "make room") == "FAIL  disk: full\n      make room"
    lines = config.lines([config.Setting("a.b", "1", "default"), config.Setting("a.long", '"x"', "file")])
    assert lines == 'a.b = 1       # default\na.long = "x"  # file\n'


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (59, "59.0 s"), (185, "3 min 5 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h")]
)
def test_spans(seconds: float, text: str) -> None:
    assert units.span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**50, "1024.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 vectors"), (1, "1 vector"), (2, "2 vectors")])
def test_counts(number: int, text: str) -> None:
    assert counted(number, "vector") == text


def test_commands_of_suggested_models_are_never_folded() -> None:
    found = ranked(Room(6 * 2**30, host_rate=36e9))
    wide, below = suggest.in_width(found, 160)
    assert (wide, below) == (suggest.table(found), [])
    for width in (80, 120):
        (head, rows), below = suggest.in_width(found, width)
        assert "FETCH" not in head
        assert len(rows) == len(found)
        assert below == [it.model.command for it in found if it.fits]
        assert max(map(len, table.fitted(head, rows, width, colour=False).splitlines())) <= width


def test_a_suggested_model_that_does_not_fit_or_is_slow_is_marked() -> None:
    head, rows = suggest.table(ranked(Room(6 * 2**30, host_rate=30e9)))
    fits = {row[0]: row[head.index("FITS")] for row in rows}
    assert (fits["Gemma 3 1B"], fits["Qwen3 8B"], fits["Qwen3 14B"]) == ("yes", "slow", "no")


def test_text_in_pieces_is_escaped_however_it_is_cut() -> None:
    text = "a\r\nb\rc\x1b]0;t\x07d\x9b2J\x1b[31me\u061cf\u200eg\u200fh\u202ei\u2067j\t\r\n\r\r\nend\x1b["
    safe = "a\nb\\rc\\x1b]0;t\\x07d\\x9b2J\\x1b[31me\\u061cf\\u200eg\\u200fh\\u202ei\\u2067j\t\n\\r\nend\\x1b["
    for size in range(1, len(text) + 1):
        pieces = Pieces()
        assert "".join(pieces.printable(text[at : at + size]) for at in range(0, len(text), size)) == safe
    for cut in range(len(text)):
        pieces = Pieces()
        assert pieces.printable(text[:cut]) + pieces.printable(text[cut:]) == safe
    assert not {chr(code) for code in STEERING if chr(code) not in "\t\n"} & set(safe)


def test_every_character_that_turns_the_direction_of_text_is_escaped() -> None:
    kept = "\u05e9\u05dc\u05d5\u05dd, e\u0301 \U0001f469\u200d\U0001f52c\ufe0f"
    turning = {chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code)) in BIDI} | set(
        "\u061c\u200e\u200f"
    )
    assert turning <= {chr(code) for code in STEERING}
    assert printable(kept) == kept, "and text stays"
