"""Turns between clients: a few requests of each at once, in order, and none lost."""

import pytest
from llmctld import turns
from llmctld.requests import Key
from llmctld.turns import AT_ONCE, FLOOD, Turns

from llmctl import wire


class Scene:
    """`started`: the requests that are served, in the order in which they began."""

    def __init__(self) -> None:
        self.started: list[Key] = []
        self.turns = Turns(lambda key, request: self.started.append(key))

    def take(self, client: bytes, number: int) -> list[Key]:
        keys = [(client, b"%d" % each) for each in range(number)]
        for key in keys:
            self.turns.take(key, wire.Status())
        return keys


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_client_with_many_requests_waits_and_another_one_does_not(scene: Scene) -> None:
    flood = scene.take(b"a", 100)
    other = scene.take(b"b", 1)
    assert scene.started == flood[:AT_ONCE] + other
    for key in scene.started[:]:
        scene.turns.ended(key)
    assert scene.started == flood[:AT_ONCE] + other + flood[AT_ONCE : 2 * AT_ONCE]


def test_every_request_is_started_once_and_in_order_and_nothing_is_kept(scene: Scene) -> None:
    flood = scene.take(b"a", 100)
    for served in range(100):
        scene.turns.ended(scene.started[served])
    assert scene.started == flood
    assert (len(scene.turns), scene.turns._served, scene.turns._waiting) == (0, {}, {})


def test_a_waiting_request_can_be_withdrawn_and_a_client_dropped(scene: Scene) -> None:
    flood = scene.take(b"a", AT_ONCE + 3)
    assert not scene.turns.withdraw(flood[0]), "it is served"
    assert scene.turns.foremost(2) == flood[AT_ONCE : AT_ONCE + 2]
    assert scene.turns.withdraw(flood[-1])
    assert flood[-1] not in scene.turns
    assert scene.turns.drop(b"a") == flood[AT_ONCE:-1]
    for key in flood[:AT_ONCE]:
        scene.turns.ended(key)
    assert scene.started == flood[:AT_ONCE]
    assert (scene.turns._served, scene.turns._waiting) == ({}, {})


def test_the_memory_of_a_flood_is_returned_once_when_it_is_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[None] = []
    monkeypatch.setattr(turns, "return_memory", lambda: returned.append(None))
    scene.take(b"b", AT_ONCE + 1)
    scene.turns.drop(b"b")
    assert returned == []
    number = AT_ONCE + FLOOD + 1
    scene.take(b"a", number)
    for served in range(number):
        assert returned == ([None] if len(scene.turns) == 0 else [])
        scene.turns.ended((b"a", b"%d" % served))
    assert returned == [None]
    turns.return_memory()
