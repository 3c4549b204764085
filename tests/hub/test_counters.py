"""Counters and gauges: kept in one place, read by the status views, each with a description."""

from pathlib import Path

import pytest
from llmctld.runtime.counters import HELP, Counters, Measurement

from llmctl import wire
from tests.hub.scene import Speaker, a_server, in_loop


def test_counters_are_unique_per_name_and_labels_and_gauges_are_read_live() -> None:
    counters, level = Counters(), 1.0
    counters.counter("cache_hits", level="memory").add()
    counters.counter("cache_hits", level="memory").add(2)
    counters.counter("cache_hits", level="disk")
    counters.gauge("engines", lambda: level)
    level = 3.0
    assert list(counters) == [
        Measurement("cache_hits", {"level": "memory"}, 3, grows=True),
        Measurement("cache_hits", {"level": "disk"}, 0, grows=True),
        Measurement("engines", {}, 3.0, grows=False),
    ]
    for unknown in (lambda: counters.counter("hits"), lambda: counters.gauge("hits", lambda: 0.0)):
        with pytest.raises(KeyError):
            unknown()
    assert all(meaning.endswith(".") for meaning in HELP.values())


@in_loop
async def test_status_views_print_the_counters(tmp_path: Path) -> None:
    async with a_server(tmp_path, Speaker("a", "b")) as scene:
        assert isinstance(await scene.dealer.ask(wire.Generate(prompt="why?")), wire.Done)
        assert isinstance(await scene.dealer.ask(wire.LoadModel(name="none")), wire.Failed)
        await scene.hub.tiers.get("nothing", None)
        scene.hub.tiers.joined()
        final = await scene.dealer.ask(wire.GetCacheStats())
        assert isinstance(final, wire.Done)
        assert isinstance(final.result, wire.CacheStats)
        counted = {(name, *labels.values()): value for name, labels, value, _ in scene.hub.counters}
        assert counted["requests", "generate", "done"] == 1
        assert counted["requests", "load_model", "model_unavailable"] == 1
        assert counted["tokens", "completion"] == 2
        assert counted["cache_requests",] == final.result.requests == 1
        assert counted["cache_joined",] == final.result.joined == 1
        assert [counted["cache_misses", level.level] for level in final.result.levels] == [1, 1]
        assert [level.misses for level in final.result.levels] == [1, 1]
