"""Converts an endpoint's refusal, a status and a body, to one of llmctl's errors, with the endpoint's text and a hint.

Knows how servers with OpenAI's API report errors.
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from llmctl.errors import Busy, ContextOverflow, EngineFailed, InvalidRequest, LlmctlError, ModelUnavailable
from llmctld.models.remote.http import phrases
from llmctld.models.remote.http.breaker import AttemptFailed, ServerMessage
from llmctld.models.remote.http.lenient_json import encodable, loads, mapping

AGAIN = (500, 502, 503, 504)
"""Statuses, with 429, that a retry may resolve."""
WORDS = 400
"""Maximum length of an endpoint's text in a message."""
ASK_AGAIN = "Try again. If it fails again, see the server's log."

WORDS_IN = ("message", "detail", "msg", "error_message", "error_msg", "errmsg", "status_msg")
CODES_IN = ("code", "status_code", "http_status_code", "status", "type", "error_type")
"""Fields in which servers put texts, and codes."""
TITLE = re.compile(r"<title>\s*(.+?)\s*</title>", re.IGNORECASE | re.DOTALL)


def read(body: bytes) -> ServerMessage:
    """The refusal in any of the usual forms; of HTML the title, of other text the first line."""
    try:
        return of_json(loads(body.strip().removeprefix(b"data:")))
    except ValueError:
        text = body.decode(errors="replace").strip()
    title = TITLE.search(text)
    lines = title[1].split("\n") if title else text.splitlines()
    return ServerMessage(lines[0].strip()[:WORDS] if lines else "", "")


def of_json(found: Any) -> ServerMessage:
    """The refusal in a JSON object, or in the first object of a list."""
    outer = mapping(next(iter(found), None) if isinstance(found, list) else found)
    inner = outer.get("error") or outer.get("errors")
    inner = mapping(next(iter(inner), None) if isinstance(inner, list) else inner)
    codes = [
        str(value) for name in CODES_IN if isinstance(value := inner.get(name, outer.get(name)), int | str) and value
    ]
    words = _words(inner or found)
    raw = mapping(inner.get("metadata")).get("raw")  # the error of the server behind a gateway
    return ServerMessage(
        encodable(f"{words}: {raw}" if isinstance(raw, str) else words)[:WORDS], encodable(" ".join(codes))
    )


def _words(found: Any, depth: int = 8) -> str:
    if isinstance(found, list):
        return "; ".join(_words(each, depth - 1) for each in found) if depth else str(found)
    if not isinstance(found, dict):
        return str(found)
    named = next((found[name] for name in (*WORDS_IN, "error", "errors") if found.get(name)), None)
    if named is None or named is True or not depth:
        return str(found)
    place = found.get("loc")
    return f"{'.'.join(map(str, place))}: {_words(named)}" if isinstance(place, list) else _words(named, depth - 1)


def status_in(said: ServerMessage) -> int:
    """The status that an error inside an answer would have had before it."""
    return next((int(word) for word in said.code.split() if len(word) == 3 and word.isdecimal() and word >= "400"), 500)


def retry_after(value: str | None) -> float:
    """Seconds from a number or a date; 0 if there is none."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def error_of(who: str, status: int, said: ServerMessage, after: float = 0.0) -> AttemptFailed | LlmctlError:
    """The error for an answer with this status, except for those about keys or unknown models. `who`: the endpoint."""
    what = f"{who} answers {status}: {said.words or 'no message'}"
    if status == 429:
        hint = f"Try again in {after:g} s." if after else "Try again later."
        return AttemptFailed(Busy(what, hint), after=after, counts=False)
    if status in AGAIN:
        # not counted by the breaker if it is a 500: some servers answer so to an invalid request
        return AttemptFailed(EngineFailed(what, ASK_AGAIN), after=after, counts=status != 500, refusal=said)
    if 300 <= status < 400:
        return ModelUnavailable(what, "Add the model with the address that it redirects to.")
    if status >= 500:
        return AttemptFailed(EngineFailed(what, ASK_AGAIN), again=False, refusal=said)
    if status in (400, 413, 422) and phrases.OVERFLOW.search(f"{said.code} {said.words}"):
        error: LlmctlError = ContextOverflow(what, "Shorten the prompt. The endpoint sets the limit.")
    else:
        error = InvalidRequest(what, "Omit or change what the endpoint's message names.")
    return AttemptFailed(error, again=False, counts=False, refusal=said)


def room(words: str) -> int | None:
    """Tokens left for the answer, if the refusal names the lengths of prompt and context."""
    most, prompt = lengths(words)
    return most - prompt if most is not None and prompt is not None and most > prompt else None


def lengths(words: str) -> tuple[int | None, int | None]:
    """Tokens of the context and of the prompt, None where the refusal does not name them."""
    most, prompt = phrases.CONTEXT_TOKENS.search(words), phrases.PROMPT_TOKENS.search(words)
    return int(most[1]) if most else None, next(int(found) for found in prompt.groups() if found) if prompt else None
