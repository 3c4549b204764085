"""How an answer that was computed for one request becomes that of another, which joined it or found it in the cache.

It is copied whole. Only the fields that belong to the receiver are set: `OF_RECEIVER` in cache/level.py, and `model`, since one
model may have several names.
"""

import msgspec

from llmctl.wire import Answer, CacheUse, Cost, Timings
from llmctld.call.call import Call
from llmctld.money.pricing.prices import Use, free


def served(answer: Answer, call: Call, cache: CacheUse, timings: Timings | None = None) -> Answer:
    """A stored answer, or that of an equal request, as the answer of `call`, which cost nothing to compute."""
    timings = Timings() if timings is None else msgspec.structs.replace(timings)
    timings.total_ms = round(call.elapsed_ms(), 3)
    return msgspec.structs.replace(
        answer, id=call.id, user=call.request.user, conversation=None if answer.index else call.conversation, cache=cache,
        model=call.model.name if call.model else answer.model, cost=_free(answer, call), route=None, batched=None,
        timings=timings, explain=None,
    )  # fmt: skip


def taken_over(answer: Answer, call: Call) -> Answer:
    """The answer of a computation that `call` owns and pays for, whoever asked first: its cost and route are those of `call`."""
    mine = served(answer, call, CacheUse(key=call.key), answer.timings)
    return msgspec.structs.replace(mine, cost=answer.cost, route=answer.route, batched=answer.batched)


def _free(answer: Answer, call: Call) -> Cost:
    """Nothing was computed. The computing time saved is that of all samples together, and counts for the first one."""
    return free(call.price, Use(answer.usage, 0.0 if answer.index else (call.saved_ms or 0.0) / 1e3))
