"""Builds a wire.Generate from options, a template and the configuration's defaults, for the command and for programs.

It reads the named files and decides which source wins; it checks no range and sends nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from llmctl import templates, wire, written
from llmctl.config import Config, parse_duration, parse_keep_alive
from llmctl.config.amounts import RANGE, is_amount
from llmctl.errors import InvalidRequest, Usage
from llmctl.named_files import NamedFiles, Origin
from llmctl.options import CACHE, EXTRACT, Asked, as_list, given_options, layered
from llmctl.paths import Paths, os_user
from llmctl.schema import from_short_form, parse_schema

SAME = (
    *(name for name in wire.Sampling.__struct_fields__ if name not in ("logit_bias", "stop")),
    "model", "system", "raw", "conversation", "repro", "priority", "semantic", "explain", "n", "think", "overflow",
)  # fmt: skip
"""Options with the same name and type in wire.Generate."""
TEXT = "Name a text file."
SILENCE_S = 2.0
FROM_DEFAULTS = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "timeout")


def pack(
    asked: Asked,
    paths: Paths,
    config: Config,
    *,
    stream: bool = False,
    origin: Origin | None = None,
    notify: Callable[[str], None] = lambda words: None,
) -> wire.Generate:
    """Options override the template, and the template overrides the defaults.

    `origin`: what the options come from, if it is not the user. `notify` gets the notice of a file that it or a template reads.
    """
    named = NamedFiles(paths, config.templates.read_allow, notify)
    template, of_template = _template(asked.template, paths, named, origin)
    values = layered(asked, template)
    over = given_options(asked)

    def path_of(option: str, name: str) -> str:
        return named.path(name, origin if option in over else of_template)

    for name in FROM_DEFAULTS:
        if name not in values and getattr(config.defaults, name) is not None:
            values[name] = getattr(config.defaults, name)
    params = {name: templates.as_text(value) or "" for name, value in values.get("param", {}).items()}
    if isinstance(values.get("think"), bool):  # YAML reads on and off as booleans
        values["think"] = "on" if values["think"] else "off"
    prompt = _join(template.prompt, asked.prompt, params)
    return wire.Generate(
        prompt=prompt,
        default_model=config.defaults.model,
        stdin=asked.stdin,
        files=[read_file(name, path_of("file", name), notify) for name in as_list(values.get("file", ()))],
        params=params,
        declared=template.declared(),
        tokens=asked.tokens,
        messages=None if asked.messages is None else _chat(asked.messages),
        tools=asked.tools,
        tool_choice=asked.tool_choice,
        user=user_label(values.get("user"), config),
        tags=as_list(values.get("tag", ())),
        continue_last=values.get("continue_", False),
        logit_bias={str(token): bias for token, bias in values.get("logit_bias", {}).items()},
        stop=as_list(values.get("stop", ())),
        adapters=_adapters(values.get("adapter", ())),
        ignore_eos=asked.ignore_eos,
        schema=schema_text(values["schema"], path_of) if "schema" in values else None,
        grammar=read_file(values["grammar"], path_of("grammar", values["grammar"]), notify).text
        if "grammar" in values
        else None,
        extract=next((mode for name, mode in EXTRACT.items() if name in values), None),
        cache=next((mode for name, mode in CACHE.items() if name in values), "auto"),
        max_age=_seconds("--max-age", values.get("max_age")),
        timeout=_seconds("--timeout", values.get("timeout")),
        max_cost=_money("--max-cost", values.get("max_cost")),
        keep_alive=_keep_alive(values.get("keep_alive")),
        stream=stream,
        **{name: values[name] for name in SAME if name in values},
    )


def _template(
    name: str | None, paths: Paths, named: NamedFiles, origin: Origin | None
) -> tuple[templates.Template, Origin | None]:
    """The template, and as what it names files."""
    if not name:
        return templates.Template(), None
    file = templates.find(paths.templates, name)
    if templates.is_path(name):
        named.path(name, origin)
    own = Path(os.path.realpath(file)).parent
    return templates.parse(templates.read(file), str(file)), Origin(f"the template {file}", own)


def _chat(messages: list[Any]) -> list[wire.ChatMessage]:
    from llmctl.chat import chat_of  # no command needs it

    return chat_of(messages)


def _join(template: str | None, prompt: str | None, params: dict[str, str]) -> str | None:
    """The template's prompt, an empty line, PROMPT; or PROMPT in place of `{prompt}`."""
    if template is None or prompt is None:
        return prompt if template is None else template
    if "{prompt}" in template and "prompt" not in params:
        params["prompt"] = prompt
        return template
    return f"{template.rstrip()}\n\n{prompt}"


def _adapters(value: Any) -> dict[str, float]:
    """`NAME` or `NAME=SCALE`, one or many, or a mapping. Raises Usage."""
    if isinstance(value, dict):
        return dict(value)
    found = {}
    for item in as_list(value):
        name, equals, scale = item.partition("=")
        try:
            if not name:
                raise ValueError(item)
            found[name] = float(scale) if equals else 1.0
        except ValueError as error:
            raise Usage(
                f"--adapter is {item!r}; it must be NAME, or NAME=SCALE with a number", "A scale of 1 is the default."
            ) from error
    return found


def _seconds(option: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(parse_duration(value))
    except ValueError as error:
        raise Usage(f"{option}: {error}") from error


def _money(option: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not is_amount(amount):
        raise Usage(f"{option} is {str(value)!r}; it must be {RANGE}")
    return amount


def _keep_alive(value: Any) -> float | None:
    try:
        return None if value is None else float(parse_keep_alive(value))
    except ValueError as error:
        raise Usage(f"--keep-alive: {error}") from error


def show_reasoning(asked: Asked) -> bool | None:
    """The value of `--reasoning`, None when it was not given."""
    if asked.reasoning not in (None, "show", "hide"):
        raise Usage(f"--reasoning is {asked.reasoning!r}; it must be show or hide")
    return None if asked.reasoning is None else asked.reasoning == "show"


def user_label(given: str | None, config: Config) -> str:
    """The label of the request: as given, else `defaults.user`, else the name of the system's user."""
    return given or config.defaults.user or os_user()


def read_file(name: str, path: str | None = None, notify: Callable[[str], None] = lambda words: None) -> wire.File:
    """A text file, ready to be sent. `path`: where it is, if not at its name. A pipe (`-f <(command)`) is read to its end.

    Raises NotFound or InvalidRequest.
    """
    with _noticed(f"waiting for {name} to end", notify, path or name), written.opened(name, TEXT, path) as file:
        try:
            data = file.read(wire.MAX_BODY_BYTES + 1)
        except OSError as error:
            raise written.unreadable(name, error) from error
    if len(data) > wire.MAX_BODY_BYTES:
        raise InvalidRequest(f"the file {name} has more than {wire.MAX_BODY_BYTES} bytes", "Send part of it.")
    return wire.File(name=name, text=written.decode_text(data, f"the file {name}"))


@contextmanager
def _noticed(words: str, notify: Callable[[str], None], path: str) -> Iterator[None]:
    """Calls `notify` if the block takes long: a named pipe without a writer holds up the one who opens it."""
    if os.path.isfile(path) or not os.path.exists(path):
        yield
        return
    import threading

    timer = threading.Timer(SILENCE_S, notify, (words,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def schema_text(given: str | dict[str, Any], path_of: Callable[[str, str], str] = lambda option, name: name) -> str:
    """The schema as JSON on one line: from JSON, a file, the short form or a dict. Raises Usage, NotFound."""
    if isinstance(given, dict) or given.lstrip().startswith("{"):
        return parse_schema(given, "the schema")
    is_path = "," not in given and ("/" in given or given.endswith(".json"))
    if is_path or os.path.isfile(given):
        return parse_schema(read_file(given, path_of("schema", given)).text, f"the schema {given}")
    return from_short_form(given)
