"""Repeated log lines are counted: nothing that is written or counted is lost, and other lines are written as they come."""

from typing import Any

import pytest
import structlog
from llmctld.runtime.repeats import KINDS, WINDOW_S, WRITTEN, Repeats


class Log:
    """What would be written, and when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        self.counts: list[tuple[str, int]] = []
        self.repeats = Repeats(lambda line, times: self.counts.append((line["event"], times)), lambda: self.now)

    def write(self, event: str, **fields: Any) -> None:
        try:
            self.repeats(None, "info", {"event": event, "level": "info", **fields})
        except structlog.DropEvent:
            return
        self.lines.append(event)


@pytest.fixture
def log() -> Log:
    return Log()


def test_lines_that_differ_only_in_request_and_time_are_written_a_hundred_times_and_then_counted(log: Log) -> None:
    for number in range(WRITTEN + 4999):
        log.write("request", request=f"{number}", ms=number, kind="Status")
    assert (len(log.lines), log.counts) == (WRITTEN, [])
    log.repeats.flush()
    assert log.counts == [], "its time is not over"
    log.now = WINDOW_S
    log.repeats.flush()
    assert log.counts == [("request", 4999)]
    log.repeats.flush(all_=True)
    assert log.counts == [("request", 4999)]


def test_a_line_after_the_window_is_written_again_and_the_count_comes_first(log: Log) -> None:
    for _ in range(WRITTEN + 3):
        log.write("request")
    log.now = WINDOW_S + 1
    log.write("request")
    assert (len(log.lines), log.counts) == (WRITTEN + 1, [("request", 3)])


def test_other_lines_between_are_written_and_do_not_end_the_count(log: Log) -> None:
    for number in range(WRITTEN * 2):
        log.write("request", kind="Status")
        log.write("request", kind="Generate", user=number)
        log.write("failed", exc_info=ValueError("x"))
    assert len(log.lines) == WRITTEN * 4
    log.repeats.flush(all_=True)
    assert sorted(log.counts) == [("failed", WRITTEN), ("request", WRITTEN)]


def test_many_kinds_of_lines_take_bounded_memory_and_lose_no_count(log: Log) -> None:
    for _ in range(WRITTEN + 7):
        log.write("first")
    for number in range(KINDS * 3):
        log.write("other", number=number)
    assert log.counts == [("first", 7)]
    assert len(log.repeats._seen) <= KINDS
