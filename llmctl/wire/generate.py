"""The question: `Generate` and what it is made of: how tokens are chosen, the messages of a chat, files.

It knows names and types. The hub checks ranges (`call/ranges.py`) and chats (`call/chat.py`), an engine fills in defaults, and
a model's chat template decides what the model reads.
"""

from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from llmctl.wire.message import Request

ROLES = ("system", "user", "assistant", "tool")
CACHE_MODES = ("auto", "store", "skip", "refresh", "only")
"""auto: serve and store as the rules say; store: `--cache`; skip: `--no-cache`; refresh; only: `--cache-only`."""
THINK = ("on", "off", "low", "medium", "high")
"""How much a model thinks before it answers; its chat template decides which of them it understands."""
OVERFLOWS = ("error", "head", "middle", "tail")
"""What happens to a prompt that is too long: it is refused, or that part of the last question is left out."""
EXTRACTS = ("first", "last")
"""Which code block of the answer to keep."""
PRIORITIES = ("high", "normal", "batch")
"""Who goes first when all slots are busy; batch work runs only where nobody else would, and makes room."""


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How tokens are chosen: the fields that an option, a template, a request and an engine's command have in common.

    A field that is null was not given: the default of the model or the configuration holds.
    """

    max_tokens: int | None = None
    """limited to the context that the prompt leaves"""
    temperature: float | None = None
    """0..2; 0 is greedy"""
    top_p: float | None = None
    """0..1"""
    top_k: int | None = None
    """0 is off"""
    min_p: float | None = None
    """0..1"""
    repeat_penalty: float | None = None
    """1 is off"""
    presence_penalty: float | None = None
    """0 is off"""
    frequency_penalty: float | None = None
    """0 is off"""
    logit_bias: dict[str, float] = {}
    """a token id in decimal, or a text that is exactly one token -> a number from -100 to 100, added to the token's logit"""
    seed: int | None = None
    """the same seed gives the same answer"""
    stop: list[str] = []
    """the answer ends before any of these texts"""
    logprobs: int | None = None
    """0..20: report the log-probabilities of this many most likely tokens beside the sampled one"""


def sampling_of(source: Sampling) -> dict[str, object]:
    """The fields by name, to be handed on."""
    return {name: getattr(source, name) for name in Sampling.__struct_fields__}


class FunctionCall(msgspec.Struct):
    """A function that the assistant called."""

    name: str
    arguments: str
    """JSON, as the model wrote it"""


class ToolCall(msgspec.Struct):
    """A tool call in a message of the assistant."""

    id: str
    """id of the call; the tool's message repeats it as `tool_call_id`"""
    function: FunctionCall
    type: str = "function"
    """`function`"""


class ChatMessage(msgspec.Struct, omit_defaults=True):
    """A message of a chat. Text is text: no part of it becomes a control token."""

    role: str
    """`system`, `user`, `assistant` or `tool`"""
    content: str
    """the text; may be empty if there are `tool_calls`"""
    name: str | None = None
    """name of the speaker or the tool, if the chat template uses it"""
    reasoning: str | None = None
    """of the assistant: the reasoning before the text; most chat templates omit it from earlier turns"""
    tool_calls: list[ToolCall] = []
    """of the assistant: the tools that it called"""
    tool_call_id: str | None = None
    """of a tool's message: the id of the call that it answers"""


class File(msgspec.Struct, omit_defaults=True):
    """A text file given with `-f`."""

    name: str
    """as the user wrote it"""
    text: str
    """its text"""


class Generate(Request, Sampling, kw_only=True, tag="generate"):
    """A question to a model: a `prompt` (short form, with `system`, `files`, a conversation ...), or `messages`, a whole chat.

    A field that is null is not set; the default of the model or the configuration applies.

    -> `answer`, or `answers` if several samples were requested. Sample k has the seed `seed` + k, and its deltas follow all
    deltas of the sample before it. The hub always separates reasoning from the answer; the client decides what to show.
    """

    is_work: ClassVar[bool] = True
    delays_background: ClassVar[bool] = True

    protocol: int = 0
    prompt: str | None = None
    """the question"""
    messages: list[ChatMessage] | None = None
    """a whole chat that ends with a question or a tool result; replaces `prompt`, `stdin`, `files`, `params`, `declared`,
    `tokens`, `system` and `raw`, and excludes a conversation"""
    tools: list[dict[str, Any]] = []
    """functions that the model may call; reserved: a request with it is `unsupported`"""
    tool_choice: Any = None
    """which of the tools to call; reserved: a request with it is `unsupported`"""
    stdin: str | None = None
    """the text of standard input"""
    files: list[File] = []
    """text files; each follows a line with its name"""
    params: dict[str, str] = {}
    """values for `{name}` in prompt and system"""
    declared: dict[str, str | None] = {}
    """the parameters of a template with their defaults; null: no default"""
    tokens: list[int] | None = None
    """a prompt as token ids, instead of any text"""
    system: str | None = None
    """the system prompt"""
    raw: bool = False
    """send the text as is, without a chat template"""
    model: str | None = None
    """name or alias; null: the model of the conversation's last turn, else `default_model`"""
    default_model: str | None = None
    """model to use if `model` is null and there is no earlier turn; null: the first model added"""
    guide: bool = False
    """whether the built-in guide may answer if no model has been added"""
    user: str = ""
    """label of the request in the history, and scope of the cache"""
    tags: list[str] = []
    """labels of the request in the history"""
    conversation: str | None = None
    """name of the conversation; a new name starts a new one"""
    continue_last: bool = False
    """continue this user's last conversation"""
    ignore_eos: bool = False
    """continue after the model's end token"""
    extract: str | None = None
    """`first` or `last`: return only that code block of the answer"""
    adapters: dict[str, float] = {}
    """name of a LoRA adapter in the model's settings -> its scale, -100..100"""
    priority: str | None = None
    """`high`, `normal` (default) or `batch`: the order of requests when all slots are busy"""
    repro: bool = False
    """compute alone, in fixed chunks and without reuse: the same bytes on each run on the same machine"""
    schema: str | None = None
    """a JSON schema, as JSON, that the answer has to satisfy"""
    grammar: str | None = None
    """a grammar in GBNF that the answer has to match; not together with a schema"""
    think: str | None = None
    """how much the model thinks: `on`, `off`, `low`, `medium` or `high`; null: from the model's settings, else from its chat
    template. A value that the model does not support is `invalid_request`"""
    overflow: str | None = None
    """what to do with a prompt that is too long: `error` (default), or cut `head`, `middle` or `tail` of the last question"""
    n: int | None = None
    """1..64 samples; above 1 the result is `answers`"""
    cache: str = "auto"
    """`auto`, `store` (`--cache`), `skip` (`--no-cache`), `refresh`, `only`"""
    max_age: float | None = None
    """maximum age of a stored answer in seconds"""
    semantic: bool | None = None
    """whether to accept the stored answer to a question of the same meaning; null: `cache.semantic.enabled`"""
    explain: bool = False
    """report in the answer what each stage did with the request"""
    timeout: float | None = None
    """seconds for the whole request, from its arrival at the hub"""
    max_cost: Decimal | None = None
    """most that the request may cost, in the hub's currency; a request that may cost more is refused"""
    keep_alive: float | None = None
    """seconds that the model stays loaded after this request; -1: forever"""
    stream: bool = False
    """send deltas; otherwise only the final reply is sent"""

    @property
    def subject(self) -> str | None:
        return self.model
