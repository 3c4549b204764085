"""The thread that processes wanted keys: in order, each once, and only while there is work."""

import threading

from llmctld.vectors.builder import Builder


def test_keys_are_processed_in_order_and_once() -> None:
    done: list[bytes] = []
    go = threading.Event()

    def work(key: bytes) -> None:
        go.wait()
        done.append(key)

    builder = Builder("things", work)
    for key in (b"a", b"b", b"c", b"b"):
        builder.request(key)
    go.set()
    builder.wait_idle()
    assert done == [b"a", b"b", b"c"]
    builder.request(b"a")
    builder.wait_idle()
    assert done == [b"a", b"b", b"c", b"a"]
    builder.close()


def test_failed_key_does_not_stop_the_next() -> None:
    done: list[bytes] = []

    def work(key: bytes) -> None:
        if key == b"bad":
            raise ValueError("no")
        done.append(key)

    builder = Builder("things", work)
    builder.request(b"bad")
    builder.request(b"good")
    builder.wait_idle()
    builder.close()
    assert done == [b"good"]


def test_closing_drops_pending_keys() -> None:
    begun, done = threading.Event(), list[bytes]()

    def work(key: bytes) -> None:
        done.append(key)
        begun.set()
        while not builder.closing:
            pass

    builder = Builder("things", work)
    builder.request(b"a")
    builder.request(b"b")
    begun.wait()
    builder.close()
    assert done == [b"a"]


def test_no_thread_is_started_without_work() -> None:
    before = threading.active_count()
    builder = Builder("things", lambda key: None)
    builder.wait_idle()
    builder.close()
    assert threading.active_count() == before
