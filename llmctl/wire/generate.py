"""The question: `Generate` and what it is made of: how tokens are chosen, the messages of a chat, files.

It knows names and types. The hub checks ranges (`call/ranges.py`) and chats (`call/chat.py`), an engine fills in defaults, and
a model's chat template decides what the model reads.
"""

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
    """clipped to the room that the prompt leaves"""
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
    """a token id in decimal, or a text that is one token -> added to its logit, -100..100"""
    seed: int | None = None
    """the same seed gives the same answer"""
    stop: list[str] = []
    """the answer ends before any of these"""
    logprobs: int | None = None
    """0..20: report so many of the likeliest tokens at each place, beside the sampled one"""


def sampling_of(source: Sampling) -> dict[str, object]:
    """The fields by name, to be handed on."""
    return {name: getattr(source, name) for name in Sampling.__struct_fields__}


class FunctionCall(msgspec.Struct):
    """A function that the assistant called."""

    name: str
    arguments: str
    """JSON, as the model wrote it"""


class ToolCall(msgspec.Struct):
    """A call of a tool, inside a message of the assistant."""

    id: str
    """which the tool's message repeats as `tool_call_id`"""
    function: FunctionCall
    type: str = "function"
    """`function`"""


class ChatMessage(msgspec.Struct, omit_defaults=True):
    """A message of a chat. Text is text: no part of it becomes a control token."""

    role: str
    """`system`, `user`, `assistant` or `tool`"""
    content: str
    """its text; may be empty beside `tool_calls`"""
    name: str | None = None
    """of who speaks, or of the tool; a model reads it where its chat template does"""
    reasoning: str | None = None
    """of the assistant: what it thought; most chat templates leave it out of earlier turns"""
    tool_calls: list[ToolCall] = []
    """of the assistant"""
    tool_call_id: str | None = None
    """of a tool's message: the call that it answers"""


class File(msgspec.Struct, omit_defaults=True):
    """A text file given with `-f`."""

    name: str
    """as the user wrote it"""
    text: str
    """its text"""


class Generate(Request, Sampling, kw_only=True, tag="generate"):
    """One question, as a `prompt` (the short form, with `system`, `files`, a conversation ...) or as `messages`, a whole chat.

    A field that is null was not given: the default of the model or the configuration holds.

    -> `answer`, or `answers` where several samples were asked for: sample k has the seed `seed` + k, and its deltas come
    after all those of the sample before it. The hub always separates reasoning from the answer; the client decides what
    to show.
    """

    is_work: ClassVar[bool] = True
    delays_background: ClassVar[bool] = True

    protocol: int = 0
    prompt: str | None = None
    """the question"""
    messages: list[ChatMessage] | None = None
    """a whole chat, the question or the result of a tool last; instead of `prompt`, `stdin`, `files`, `params`, `declared`,
    `tokens`, `system`, `raw`, and of a conversation, for it belongs to none"""
    tools: list[dict[str, Any]] = []
    """functions that the model may call; reserved: `unsupported` when it is given"""
    tool_choice: Any = None
    """which of them; reserved: `unsupported` when it is given"""
    stdin: str | None = None
    """the text of standard input"""
    files: list[File] = []
    """each follows a line with its name"""
    params: dict[str, str] = {}
    """values for `{name}` in prompt and system"""
    declared: dict[str, str | None] = {}
    """the parameters of a template with their defaults; null: no default"""
    tokens: list[int] | None = None
    """a prompt as token ids, instead of any text"""
    system: str | None = None
    """the system prompt"""
    raw: bool = False
    """no chat template: the text as it stands"""
    model: str | None = None
    """name or alias; null: that of the conversation's last turn, else `default_model`"""
    default_model: str | None = None
    """used where `model` is null and no turn came before; null: the model that was added first"""
    guide: bool = False
    """whether the built-in guide may answer where no model has been added"""
    user: str = ""
    """label of the record, and scope of the cache"""
    tags: list[str] = []
    """labels of the record"""
    conversation: str | None = None
    """its name; a new name begins a new conversation"""
    continue_last: bool = False
    """continue this user's last conversation"""
    ignore_eos: bool = False
    """continue where the model would end"""
    extract: str | None = None
    """`first` or `last`: the answer is that code block"""
    adapters: dict[str, float] = {}
    """name of a LoRA adapter in the model's settings -> its scale, -100..100"""
    priority: str | None = None
    """`high`, `normal` (default) or `batch`: who goes first when all slots are busy"""
    repro: bool = False
    """alone, in fixed chunks, with nothing computed before: the same bytes each time on the same machine"""
    schema: str | None = None
    """a JSON schema, as JSON: the answer satisfies it"""
    grammar: str | None = None
    """a grammar in GBNF: the answer is a text of it; not with a schema"""
    think: str | None = None
    """how much the model thinks: `on`, `off`, `low`, `medium`, `high`; null: as its settings say, or else its
    chat template. A value that it does not know is `invalid_request`"""
    overflow: str | None = None
    """where the prompt is too long: `error` (default), or the part of the last question to leave out: `head`,
    `middle` or `tail`"""
    n: int | None = None
    """1..64 samples; above 1 the result is `answers`"""
    cache: str = "auto"
    """`auto`, `store` (`--cache`), `skip` (`--no-cache`), `refresh`, `only`"""
    max_age: float | None = None
    """seconds: an older stored answer does not count"""
    semantic: bool | None = None
    """whether the stored answer to a question of the same meaning will do; null: as `cache.semantic.enabled` says"""
    explain: bool = False
    """report in the answer what each stage did with the request"""
    timeout: float | None = None
    """seconds for the whole request, from its arrival at the hub"""
    keep_alive: float | None = None
    """seconds that the model stays loaded after this request, if no other comes; -1: for ever"""
    stream: bool = False
    """send deltas; without it only the final reply is sent"""

    @property
    def subject(self) -> str | None:
        return self.model
