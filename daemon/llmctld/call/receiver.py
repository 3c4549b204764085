"""Which fields of an answer belong to the request that receives it. All others are copied whole, whatever fields there are.

An answer computed for one request may be served to others: by joining it, or from a level of the cache.
"""

import msgspec

from llmctl.wire import Answer, CacheUse, Timings
from llmctld.call.call import Call


def unaddressed(answer: Answer) -> Answer:
    """The answer as it is stored: without what belongs to its receiver."""
    return msgspec.structs.replace(
        answer, id="", user="", conversation=None, cache=CacheUse(), cost=None, route=None, batched=None,
        timings=Timings(), explain=None,
    )  # fmt: skip


def served(answer: Answer, call: Call, cache: CacheUse, timings: Timings | None = None) -> Answer:
    """A stored answer, or that of an equal request, as the answer of `call`, which cost nothing to compute."""
    timings = Timings() if timings is None else msgspec.structs.replace(timings)
    timings.total_ms = round(call.elapsed_ms(), 3)
    return msgspec.structs.replace(
        answer, id=call.id, user=call.request.user, conversation=None if answer.index else call.conversation, cache=cache,
        cost=None, route=None, batched=None, timings=timings, explain=None,
    )  # fmt: skip


def taken_over(answer: Answer, call: Call) -> Answer:
    """The answer of a computation that `call` owns and pays for, whoever asked first: its cost and route are those of `call`."""
    mine = served(answer, call, CacheUse(key=call.key), answer.timings)
    return msgspec.structs.replace(mine, cost=answer.cost, route=answer.route, batched=answer.batched)
