"""What each message does, sent over the socket of a hub with real components."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

from llmctld.cache.level import About
from llmctld.call.call import Call, Event, Stage, compose
from llmctld.pipeline.intake.record import record

from llmctl import __version__, wire
from llmctl.wire import TokenUsage
from tests.hub.scene import Scene, Speaker, a_server, a_stored, at_once, in_loop
from tests.hub.test_store import ENDLESS

R = TypeVar("R", bound=wire.Result)


async def result(scene: Scene, request: wire.Request, kind: type[R]) -> R:
    final = await scene.dealer.ask(request)
    assert isinstance(final, wire.Done), final
    assert isinstance(final.result, kind)
    return final.result


async def code(scene: Scene, request: wire.Request) -> str:
    final = await scene.dealer.ask(request)
    assert isinstance(final, wire.Failed), final
    return final.code


@in_loop
async def test_model_is_added_loaded_unloaded_and_removed(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene:
        add = wire.AddModel(name="e", target="echo", aliases=["nick"], settings={"slots": "2"})
        model = await result(scene, add, wire.Model)
        assert (model.name, model.backend, model.aliases, model.settings) == ("e", "echo", ["nick"], {"slots": 2})
        assert await code(scene, add) == "usage"
        assert (await result(scene, wire.Ps(), wire.Engines)).engines == []
        assert await code(scene, wire.UnloadModel(name="e")) == "model_unavailable"
        (line,) = (await result(scene, wire.LoadModel(name="nick"), wire.Engines)).engines
        assert (line.name, line.slots, line.state) == ("e", 2, "ready")
        assert (await result(scene, wire.Ps(), wire.Engines)).engines[0].pid == line.pid
        assert (await result(scene, wire.Status(), wire.HubStatus)).models == ["e"]
        await result(scene, wire.UnloadModel(name="nick"), wire.Nothing)
        await result(scene, wire.LoadModel(name="e"), wire.Engines)
        await result(scene, wire.RemoveModel(name="nick"), wire.Nothing)
        assert (await result(scene, wire.Ps(), wire.Engines)).engines == [], "removing a model unloads it"
        assert await code(scene, wire.LoadModel(name="e")) == "model_unavailable"


@in_loop
async def test_removing_a_model_ends_its_load(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene:
        await result(scene, wire.AddModel(name="e", target="echo"), wire.Model)
        loading = await scene.dealer.send(wire.LoadModel(name="e"))
        await at_once(lambda: any(line.pid for line in scene.hub.residency.statuses()))
        os.kill(scene.hub.residency.statuses()[0].pid, signal.SIGSTOP)  # so that loading cannot finish first
        removing = await scene.dealer.send(wire.RemoveModel(name="e"))
        finals: dict[bytes, wire.AnyReply] = {}
        while finals.keys() != {loading, removing}:
            to, reply = await scene.dealer.receive()
            if isinstance(reply, wire.FINAL):
                finals[to] = reply
        last = finals[loading]
        assert isinstance(finals[removing], wire.Done)
        assert isinstance(last, wire.Failed)
        assert (last.code, last.message) == ("model_unavailable", "the loading of e was cancelled")
        assert scene.hub.residency.statuses() == []


@in_loop
async def test_status_describes_the_running_hub(tmp_path: Path) -> None:
    speaker = Speaker(held=True)
    async with a_server(tmp_path, speaker) as scene:
        await scene.dealer.send(wire.Generate(prompt="x"))
        await speaker.said.wait()
        status = await result(scene, wire.Status(), wire.HubStatus)
        assert (status.state, status.pid, status.version) == ("running", os.getpid(), __version__)
        assert (status.socket, status.protocol) == (str(scene.path), wire.PROTOCOL)
        assert status.requests_in_flight == 1, "a status request is not counted"


@in_loop
async def test_last_turn_can_be_undone(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene:
        row = {"number": 1, "id": "1", "at": 0.0, "user": "ana", "state": "done", "model": "e", "conversation": "talk"}
        await scene.hub.history.save({**row, "prompt": "one", "text": "re: one"})
        undo = wire.Undo(conversation="talk", user="ana")
        look = wire.Undo(user="ana", look=True)
        assert await result(scene, look, wire.Undone) == wire.Undone(prompt="one", system="")
        assert (await result(scene, undo, wire.Undone)).prompt == "one"
        assert (await result(scene, undo, wire.Undone)).prompt is None
        assert (await result(scene, wire.Undo(user="eve"), wire.Undone)).prompt is None, "eve has no conversation"


@in_loop
async def test_cache_stats_and_clear(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene:
        stats = await result(scene, wire.GetCacheStats(), wire.CacheStats)
        assert [level.level for level in stats.levels] == ["memory", "disk"]
        assert (await result(scene, wire.ClearCache(), wire.Cleared)).entries == 0
        assert await code(scene, wire.ClearCache(model="none")) == "model_unavailable"


@in_loop
async def test_cache_entries_are_listed_shown_and_cleared_by_filter(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("x")) as scene:
        tiers, now = scene.hub.tiers, time.time()
        kinds = [("m", "ana", ["a", "b"], 0.0), ("m", "ana", ["a"], 500.0), ("n", "bob", [], 1000.0)]
        for number, (model, user, tags, age) in enumerate(kinds):
            stored = a_stored(f"text {number}", model, now - age)
            await tiers.put(f"{number}abc", stored, About(user, tags, "talk", "why?"))

        async def listed(**which: Any) -> list[str]:
            found = await result(scene, wire.ListCache(**which), wire.CacheEntries)
            return [entry.key[0] for entry in found.entries]

        assert await listed() == ["0", "1", "2"]
        assert await listed(user="ana") == ["0", "1"]
        assert await listed(user="") == []
        assert await listed(tags=["a"]) == ["0", "1"]
        assert await listed(tags=["a", "b"]) == ["0"]
        assert await listed(tags=['a"']) == []
        assert await listed(older=400.0) == ["1", "2"]
        assert await listed(newer=600.0) == ["0", "1"]
        assert await listed(older=400.0, newer=600.0, user="ana", model="m", tags=["a"]) == ["1"]
        assert await listed(limit=2) == ["0", "1"]
        assert await listed(limit=2, after=2) == ["2"]
        assert await code(scene, wire.ListCache(limit=0)) == "invalid_request"
        assert await code(scene, wire.ListCache(model="none")) == "model_unavailable"

        shown = await result(scene, wire.ShowCache(key="1a"), wire.CacheShown)
        assert (shown.text, shown.entry.user, shown.entry.prompt, shown.usage) == (
            "text 1",
            "ana",
            "why?",
            TokenUsage(1, 0, 2),
        )
        assert [level.level for level in shown.levels] == ["memory", "disk"]
        assert all(3000 < level.left_s < 3100 for level in shown.levels)
        assert await code(scene, wire.ShowCache(key="9")) == "not_found"
        assert await code(scene, wire.ShowCache(key="")) == "invalid_request"

        assert (await result(scene, wire.ClearCache(user="ana", tags=["b"]), wire.Cleared)).entries == 1
        assert (await result(scene, wire.ClearCache(model="n"), wire.Cleared)).entries == 1
        assert await listed() == ["1"]
        assert await tiers.peek("0abc") is None
        assert (await result(scene, wire.ClearCache(), wire.Cleared)).entries == 1
        assert await listed() == []


@in_loop
async def test_long_cache_search_does_not_delay_answers(tmp_path: Path) -> None:
    """Neither the history row nor the cache index entry of an answer waits for another user's search."""

    async def pipeline(call: Call) -> AsyncGenerator[Event, None]:
        async with aclosing(compose([record(scene.hub.history), store], Speaker("x"))(call)) as events:
            async for event in events:
                yield event

    def store(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            call.key = call.id
            async with aclosing(next_(call)) as events:
                async for event in events:
                    if isinstance(event, wire.Answer):
                        await scene.hub.tiers.put(call.id, a_stored("x"))
                    yield event

        return stage

    async with a_server(tmp_path, pipeline) as scene:
        book = scene.hub.tiers.required_book._store
        assert book is not None
        searches = [asyncio.create_task(each.search(ENDLESS)) for each in (scene.hub.history._store, book)]
        await asyncio.sleep(0)
        final = await scene.dealer.ask(wire.Generate(prompt="why?"))
        assert isinstance(final, wire.Done)
        assert isinstance(final.result, wire.Answer)
        assert await scene.hub.tiers.required_book.row(final.result.id) is not None
        assert not any(search.done() for search in searches)
        for search in searches:
            search.cancel()
