"""Final replies that carry no result: refusals of requests that are not begun, and how errors and ends become replies.

It sends nothing.
"""

from llmctl import __version__, wire
from llmctl.errors import Busy, LlmctlError, Timeout
from llmctld.call.call import Call


def undecodable(body: bytes, error: Exception) -> wire.Failed:
    protocol = wire.protocol_of(body)
    if protocol is not None and protocol != wire.PROTOCOL:
        return foreign(protocol)
    return wire.Failed(
        code="invalid_request", message=f"the request cannot be decoded: {error}", hint="See daemon/PROTOCOL.md."
    )


def foreign(protocol: int) -> wire.Failed:
    return wire.Failed(
        code="unreachable",
        message=f"this hub is llmctl {__version__} and speaks protocol {wire.PROTOCOL}; the client speaks {protocol}",
        hint="`llmctl daemon restart` starts a hub of the client's version.",
    )


def stopping() -> wire.Failed:
    return wire.Failed(code="unreachable", message="the hub is stopping", hint="Try again.", retry=True)


def cancelled(call: Call | None) -> wire.Cancelled:
    answers = call.partials("cancelled") if call else []
    return wire.Cancelled(answer=call.partial("cancelled") if call and not answers else None, answers=answers)


def busy(message: str, hint: str) -> wire.Failed:
    return wire.Failed(code=Busy.code, message=message, hint=hint)


def too_many(number: int | None) -> wire.Failed:
    return busy(
        f"this client has {number} requests under way, as many as one client may have (limits.per_client)",
        "Wait for some of them, or raise limits.per_client.",
    )


def failed(call: Call | None, error: LlmctlError) -> wire.Failed:
    answers = call.partials("timeout" if isinstance(error, Timeout) else "error") if call else []
    answer = None if answers else error.answer
    return wire.Failed(code=error.code, message=error.message, hint=error.hint, answer=answer, answers=answers)
