"""Who gets in: other users of the machine at the socket and at the folders on the way to it, and secrets on their way out."""

import os
from pathlib import Path

from llmctld.doctor.__main__ import folders

from llmctl.paths import find_paths
from tests.e2e.house import House
from tests.impostor import OTHER, Impostor, impostor, needs_root

BOTH = f"belongs to user {OTHER}, and this is user 0"


def refused(house: House, other: Impostor) -> None:
    """Every command that would speak to a hub says whose socket or folder it found, and sends nothing."""
    for command in (("ask", "a secret"), ("pull", "some/model"), ("ps",), ("daemon", "status"), ("daemon", "stop")):
        outcome = house.run(*command, HF_TOKEN="hf_secret")
        assert outcome.status == 3, outcome
        assert BOTH in outcome.err, outcome
        assert outcome.out == ""
        assert "LLMCTL_HOME" in outcome.err
    assert other.end() == "", "it was sent nothing"


@needs_root
def test_a_socket_of_another_user_is_sent_nothing(house: House) -> None:
    run = house.place / "run"
    run.mkdir(parents=True)
    run.chmod(0o777)
    house.home.chmod(0o711)
    with impostor(run / "hub.sock") as other:
        run.chmod(0o700)
        (run / "hub.json").write_text(f'{{"pid": {other.pid}, "version": "0.1.0", "protocol": 1, "socket": "x"}}')
        refused(house, other)


@needs_root
def test_a_parent_of_another_user_is_refused(house: House) -> None:
    run = house.place / "run"
    run.mkdir(parents=True)
    for folder in (house.place, run):
        os.chown(folder, OTHER, OTHER)
    house.home.chmod(0o711)
    with impostor(run / "hub.sock") as other:
        os.chown(run, 0, 0)  # only the folder above is theirs
        refused(house, other)
    checks = {check.check: check for check in folders(find_paths({"LLMCTL_HOME": str(house.place)}))}
    assert (checks["way to the socket"].state, BOTH in checks["way to the socket"].detail) == ("fail", True)


@needs_root
def test_the_short_link_of_a_long_home_is_not_shared_with_another_user(house: House) -> None:
    """The name of the link in /tmp can be predicted."""
    place = house.home / ("deep" * 20) / ("deeper" * 20)
    link = find_paths({"LLMCTL_HOME": str(place)}).socket.parent
    assert link.parent == Path("/tmp")
    link.mkdir()
    try:
        os.chown(link, OTHER, OTHER)
        with impostor(link / "hub.sock") as other:
            for command in (("ask", "a secret"), ("pull", "some/model")):
                outcome = house.run(*command, LLMCTL_HOME=str(place), HF_TOKEN="hf_secret")
                assert outcome.status == 3, outcome
                assert f"{link}" in outcome.err
                assert BOTH in outcome.err
            assert house.run("ps", LLMCTL_HOME=str(place)).out == ""
            assert other.end() == ""
    finally:
        for file in link.iterdir():
            file.unlink()
        link.rmdir()


def test_a_parent_that_everybody_may_write_into_is_refused(house: House) -> None:
    house.place.mkdir()
    house.place.chmod(0o777)
    outcome = house.run("ask", "hi")
    assert outcome.status == 3
    assert f"can write to the folder {house.place} (mode 777)" in outcome.err
    assert f"chmod go-w {house.place}" in outcome.err
    assert not (house.place / "run").exists()
    house.place.chmod(0o755)
    house.echo()
    assert house.ok("ask", "hi").out == "hi\n"
