"""The options that `ask`, `chat` and `embed` share, each with its help and its heading.

It checks no value: the hub checks ranges, and `llmctl.options` which options exclude each other.
"""

from typing import Annotated

from llmctl.cli.console.help import option

INPUT = "Input"
CONVERSATION = "Conversation"
ROUTING = "Model, routing and limits"
SAMPLING = "Sampling"
OUTPUT = "Output"
CACHE = "Cache"

Text = str | None
Real = float | None
Whole = int | None
Many = list[str] | None

System = Annotated[Text, option(INPUT, "--system", "-s", metavar="TEXT", help="System prompt.")]
Template = Annotated[Text, option(INPUT, "--template", "-t", metavar="NAME", help="Name or path of a template.")]
Param = Annotated[
    Many, option(INPUT, "--param", "-p", metavar="K=V", help="Replace {K} in the prompt by V. Repeatable.")
]
File = Annotated[Many, option(INPUT, "--file", "-f", metavar="FILE", help="Add a text file to the prompt. Repeatable.")]
Raw = Annotated[bool, option(INPUT, "--raw", help="Send the prompt as is, without the chat template.")]
Overflow = Annotated[
    Text,
    option(
        INPUT,
        metavar="PART",
        help="What to cut if the prompt is too long: head (keeps the end), middle or tail. Default: error.",
    ),
]
Save = Annotated[Text, option(INPUT, metavar="NAME", help="Store these options as a template; send nothing.")]
NoStdin = Annotated[bool, option(INPUT, "--no-stdin", help="Do not read stdin.")]

Continue = Annotated[bool, option(CONVERSATION, "--continue", "-c", help="Continue the last conversation.")]
Conversation = Annotated[
    Text, option(CONVERSATION, metavar="NAME", help="Continue this conversation, or start it if it is new.")
]

Model = Annotated[Text, option(ROUTING, "--model", "-m", metavar="NAME", help="Name or alias of a model.")]
Adapter = Annotated[
    Many, option(ROUTING, metavar="NAME[=SCALE]", help="Use a LoRA adapter of the model, at this strength. Repeatable.")
]
KeepAlive = Annotated[
    Text,
    option(ROUTING, metavar="T", help="How long the model stays loaded after the answer: 5m; 0: unload; -1: forever."),
]
Priority = Annotated[
    Text, option(ROUTING, metavar="LEVEL", help="Place in the queue of a busy model: high, normal (default) or batch.")
]
Timeout = Annotated[Text, option(ROUTING, metavar="T", help="Time limit for the whole request: 90s, 15m.")]
MaxCost = Annotated[Text, option(ROUTING, metavar="X", help="Refuse a request that may cost more than X.")]
User = Annotated[Text, option(ROUTING, metavar="NAME", help="User to record the request under. Default: the OS user.")]
Tag = Annotated[Many, option(ROUTING, metavar="T", help="Label to record with the request. Repeatable.")]

MaxTokens = Annotated[
    Whole, option(SAMPLING, metavar="N", help="Maximum length of an answer in tokens. Default: 2048.")
]
Temperature = Annotated[Real, option(SAMPLING, metavar="X", help="Sampling temperature, 0 to 2; 0 is greedy.")]
TopP = Annotated[
    Real, option(SAMPLING, metavar="X", help="Nucleus sampling: keep tokens up to this total probability.")
]
TopK = Annotated[Whole, option(SAMPLING, metavar="N", help="Keep the N most likely tokens.")]
MinP = Annotated[
    Real, option(SAMPLING, metavar="X", help="Drop tokens less likely than this share of the most likely one.")
]
RepeatPenalty = Annotated[Real, option(SAMPLING, metavar="X", help="Penalty on repeated tokens; 1 is off.")]
PresencePenalty = Annotated[Real, option(SAMPLING, metavar="X", help="Penalty on tokens that already occurred.")]
FrequencyPenalty = Annotated[Real, option(SAMPLING, metavar="X", help="Penalty on tokens per previous occurrence.")]
LogitBias = Annotated[
    Many,
    option(
        SAMPLING,
        metavar="TOKEN=X",
        help="Add X, -100 to 100, to the logit of a token: its id, or a text that is one token. Repeatable.",
    ),
]
Seed = Annotated[Whole, option(SAMPLING, metavar="N", help="Random seed: the same random choices on every run.")]
Stop = Annotated[Many, option(SAMPLING, metavar="TEXT", help="End the answer before this text. Repeatable.")]
Samples = Annotated[Whole, option(SAMPLING, "--n", "-n", metavar="N", help="Number of answers to generate.")]
Repro = Annotated[
    bool,
    option(
        SAMPLING,
        "--repro",
        help="With --seed or temperature 0: the same bytes on every run. Computes alone, without reuse.",
    ),
]

Schema = Annotated[
    Text,
    option(OUTPUT, metavar="SCHEMA", help="Answer in JSON of this schema: a FILE, JSON, or 'name, age int'."),
]
Grammar = Annotated[Text, option(OUTPUT, metavar="FILE", help="Answer in a text of this grammar (GBNF).")]
Extract = Annotated[bool, option(OUTPUT, "--extract", "-x", help="Print only the first code block.")]
ExtractLast = Annotated[bool, option(OUTPUT, "--xl", help="Print only the last code block.")]
Think = Annotated[
    Text, option(OUTPUT, metavar="LEVEL", help="How much the model thinks first: on, off, low, medium or high.")
]
Reasoning = Annotated[
    Text,
    option(OUTPUT, metavar="MODE", help="The model's reasoning on stderr: show or hide. Default: show in a terminal."),
]
Logprobs = Annotated[
    Whole, option(OUTPUT, metavar="N", help="With --json: log-probability of each token, and of the N most likely.")
]
Explain = Annotated[bool, option(OUTPUT, "--explain", help="Print on stderr what each stage did with the request.")]
NoStream = Annotated[bool, option(OUTPUT, "--no-stream", help="Print the answer when it is complete.")]

Cache = Annotated[
    bool, option(CACHE, "--cache", help="Use and store answers also with a temperature above 0 and no seed.")
]
NoCache = Annotated[bool, option(CACHE, "--no-cache", help="Neither use a stored answer nor store this one.")]
Refresh = Annotated[bool, option(CACHE, "--refresh", help="Compute a new answer and store it.")]
CacheOnly = Annotated[bool, option(CACHE, "--cache-only", help="Use only a stored answer; status 13 if there is none.")]
Semantic = Annotated[
    bool | None,
    option(
        CACHE, "--semantic/--no-semantic", help="Allow or forbid the stored answer to a question of the same meaning."
    ),
]
MaxAge = Annotated[Text, option(CACHE, metavar="T", help="Ignore stored answers older than this: 90s, 15m, 2h, 7d.")]
