"""What an endpoint's refusal means: a status and a body become one of our errors, with its own words and what to do next.

It knows the forms in which servers of the OpenAI kind say no, and no connection.
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from llmctl.errors import Busy, ContextOverflow, EngineFailed, InvalidRequest, LlmctlError, ModelUnavailable
from llmctld.models.breaker import Trouble

AGAIN = (500, 502, 503, 504)
"""With 429, what another attempt may mend."""
OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (length|size|window)"
    r"|prompt is too long|too many tokens",
    re.IGNORECASE,
)
WORDS = 400
"""Characters of an endpoint's own words that are passed on."""
ASK_AGAIN = "Ask again; if it stays so, look at the server's own log."

MOST_TOKENS = re.compile(r"context (?:length|window|size)\D{0,24}?(\d+)")
PROMPT_TOKENS = re.compile(r"(\d+) (?:in the (?:messages|prompt)|(?:input|prompt) tokens)|\bpassed (\d+) input")


class Said(NamedTuple):
    """A refusal's words, as a person reads them, and its code, as a program does."""

    words: str
    code: str


def read(body: bytes) -> Said:
    """The words in any of the usual forms; of anything else its first line."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        lines = body.decode(errors="replace").strip().splitlines()
        return Said(lines[0][:WORDS] if lines else "", "")
    return of_json(found)


def of_json(found: Any) -> Said:
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return Said(str(error)[:WORDS], "")
    words = error.get("message") or error.get("detail") or error.get("error") or error
    return Said(str(words)[:WORDS], " ".join(str(error[key]) for key in ("code", "type") if error.get(key) is not None))


def retry_after(value: str | None) -> float:
    """Seconds, of a number or a date; 0 where it says nothing."""
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


def refused(who: str, status: int, said: Said, after: float = 0.0) -> Trouble | LlmctlError:
    """What to raise for an answer with this status, but for those that depend on keys and on which models there are.

    `who` names the endpoint in words.
    """
    what = f"{who} answers {status}: {said.words or 'without a word'}"
    if status == 429:
        hint = f"Ask again in {after:g} s." if after else "Ask again later."
        return Trouble(Busy(what, hint), after=after, counts=False)
    if status in AGAIN:
        # a 500 is an answer, and some servers give it to a wrong question: the others' questions may well be right
        return Trouble(EngineFailed(what, ASK_AGAIN), after=after, counts=status != 500)
    if 300 <= status < 400:
        return ModelUnavailable(what, "Add the model with the address that it leads to.")
    if status >= 500:
        return Trouble(EngineFailed(what, ASK_AGAIN), again=False)
    if status in (400, 413, 422) and OVERFLOW.search(f"{said.code} {said.words}"):
        return ContextOverflow(what, "Shorten the prompt: the endpoint decides how long one may be.")
    return InvalidRequest(what, "Leave out, or change, what the endpoint's words name.")


def room(words: str) -> int | None:
    """The tokens that are left for an answer, where a refusal says how long prompt and context are."""
    most, prompt = MOST_TOKENS.search(words), PROMPT_TOKENS.search(words)
    if most is None or prompt is None:
        return None
    left = int(most[1]) - int(prompt[1] or prompt[2])
    return left if left > 0 else None
