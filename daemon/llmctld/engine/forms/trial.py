"""An expendable child of the hub: compiles schemas and grammars on trial, and validates complete answers.

Both can be made to take hours or all memory; here that ends one process that nothing else depends on. Reads a line of JSON
(TrialOrder), writes a line of JSON (TrialVerdict), until the end of its input.
"""

import resource
import signal
import sys

import jsonschema_rs
import msgspec

from llmctld.engine.errors import Refusal
from llmctld.engine.forms.grammar import Grammar, of_bytes
from llmctld.engine.lifeline import die_with_hub

COMPUTING_S = 1.0
"""Processor seconds per question; the kernel ends the process beyond that."""
MEMORY_BYTES = 2 * 2**30
DEEPEST = 64
"""Maximum nesting of a schema."""


class TrialOrder(msgspec.Struct):
    """Whether a schema (JSON) or grammar (GBNF) compiles and, with a text, whether the text satisfies it."""

    schema: str | None = None
    grammar: str | None = None
    text: str | None = None


class TrialVerdict(msgspec.Struct):
    """`error` is empty if all is well; else what is wrong and what to do."""

    error: str = ""
    hint: str = ""


def main() -> int:
    die_with_hub()
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, COMPUTING_S)  # counts processor time and ends the process by SIGPROF
        verdict = judge(msgspec.json.decode(line, type=TrialOrder))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def judge(question: TrialOrder) -> TrialVerdict:
    try:
        if question.text is not None:
            return TrialVerdict(flaw(question, question.text))
        if question.schema is not None:
            _check_schema(question.schema)
        Grammar(of_bytes(), question.schema, question.grammar)
    except Refusal as refusal:
        return TrialVerdict(refusal.message, refusal.hint)
    return TrialVerdict()


def flaw(question: TrialOrder, text: str) -> str:
    """Why the text does not satisfy the schema or grammar; empty if it does."""
    if question.schema is None:
        grammar = Grammar(of_bytes(), None, question.grammar)
        taken = all(grammar.take(byte) for byte in text.encode())
        return "" if taken and grammar.is_complete else "it does not match the grammar"
    try:
        value = msgspec.json.decode(text)
        schema = msgspec.json.decode(question.schema)
        linear = jsonschema_rs.RegexOptions()  # linear-time regular expressions
        jsonschema_rs.validator_for(schema, offline=True, pattern_options=linear).validate(value)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"it is not JSON: {error}"
    except jsonschema_rs.ValidationError as error:
        place = "/".join(map(str, error.instance_path))
        return f"{place}: {error.message}" if place else error.message
    return ""


def _check_schema(schema: str) -> None:
    try:
        value = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal("usage", f"the schema is not JSON: {error}", "Correct the schema.") from error
    if not _is_flat(value, DEEPEST):
        raise Refusal("usage", f"the schema is nested more than {DEEPEST} deep", "Use `$defs` and `$ref`.")


def _is_flat(value: object, limit: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return limit >= 0 and all(_is_flat(each, limit - 1) for each in inner)


if __name__ == "__main__":
    sys.exit(main())
