"""Phrases in an endpoint's refusal that tell what no status and no code tells.

Servers with OpenAI's API answer 400 (some 500) to nearly everything, and few set an error code. Whether the prompt is
too long, by how many tokens, or which field the server does not know is in the text alone, so the text must be read.
All such texts are here; everything else is decided by statuses, codes and types.
"""

import re

OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|context (length|size|window)"
    r"|prompt is too long|too many tokens",
    re.IGNORECASE,
)
"""Prompt, or prompt and answer, exceed the context. The first two are error codes of OpenAI and llama-server."""
CONTEXT_TOKENS = re.compile(r"context (?:length|window|size)\D{0,24}?(\d+)")
PROMPT_TOKENS = re.compile(
    r"(\d+) (?:in the (?:messages|prompt)|(?:input|prompt) tokens)|\bpassed (\d+) input|\brequest \((\d+) tokens\)"
    r"|resulted in (\d+) tokens"
)
"""Tokens of the context and of the prompt, as OpenAI, vLLM, llama-server and llama-cpp-python write them."""

STREAM_OPTIONS = "stream_options"
MAX_COMPLETION_TOKENS = "max_completion_tokens"
JSON_OBJECT = "'json_object'"
REASONING_CONTENT = "reasoning_content"
"""Names of fields and values: a refusal that contains one is about that field."""
SYSTEM_FIRST = (
    "must be at the beginning",
    "roles must alternate",
    "Only user, assistant and tool roles",
    "Invalid message role",
)
"""How the chat templates of Qwen 3.5, Mistral, Ministral and Apertus refuse a later system message; servers pass it
on.
"""
