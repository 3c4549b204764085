"""Stage `give_way`: a user's request that has to be computed cancels the hub's own work that stands in its way."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from llmctld.call.call import Call, Event, Link, Stage
from llmctld.models.running.residency import Residency


def give_way(cancel: Callable[[bool], None], residency: Residency) -> Link:
    """`cancel` gets True where the model is not loaded: then all of the hub's own work ends, for the memory that it holds."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            if not call.origin.own_work:
                cancel(not residency.is_loaded(call.entry))
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link
