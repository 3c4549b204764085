"""`llmctl chat`: a stored conversation at a prompt, or from a pipe, one line a message.

It owns the dialogue and its commands; the hub owns the conversation.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer
from typer import Option

from llmctl import wire
from llmctl.cli.asking import answer
from llmctl.cli.console import flags, out, signals
from llmctl.client import Client
from llmctl.errors import LlmctlError, Usage
from llmctl.options import Asked
from llmctl.request import show_reasoning
from llmctl.written import decode_text

app = flags.group()

HELP = """/model NAME     answer with another model
/system TEXT    another system prompt; without TEXT: none
/think WORD     on, off, low, medium or high; without WORD: as it does by itself
/save NAME      store model and system prompt as a template
/retry          take the last answer back and ask again
/undo           take the last question and its answer back
/help           this
/exit           end; so does Ctrl-D. Ctrl-C ends only the answer
\"\"\"             alone on a line: begins and ends a message of several lines
"""


@app.command()
def chat(
    model: Annotated[str | None, Option("--model", "-m", help="Name or alias of a model.")] = None,
    system: Annotated[str | None, Option("--system", "-s", help="System prompt.")] = None,
    template: Annotated[str | None, Option("--template", "-t", help="Name or path of a template.")] = None,
    continue_: Annotated[bool, Option("--continue", "-c", help="Continue the last conversation.")] = False,
    conversation: Annotated[str | None, Option(help="Continue this conversation; made when new.")] = None,
    max_tokens: Annotated[int | None, Option(help="At most so many tokens for each answer.")] = None,
    temperature: Annotated[float | None, Option(help="0 is greedy; at most 2.")] = None,
    overflow: Annotated[
        str | None, Option(help="What is left out of a message that is too long.", metavar="error|head|middle|tail")
    ] = None,
    reasoning: Annotated[str | None, Option(help="show or hide what the model thinks.", metavar="show|hide")] = None,
    think: Annotated[
        str | None, Option(help="How much the model thinks before it answers.", metavar="on|off|low|medium|high")
    ] = None,
    user: Annotated[str | None, Option(help="Whose conversation this is.")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Hold a conversation at a prompt. From a pipe, each line is a message."""
    asked = Asked(
        model=model,
        system=system,
        template=template,
        continue_=continue_,
        conversation=conversation,
        max_tokens=max_tokens,
        temperature=temperature,
        overflow=overflow,
        reasoning=reasoning,
        think=think,
        user=user,
    )
    show_reasoning(asked)
    gc.enable()
    with flags.connect() as client:
        dialogue = Dialogue(client, asked)
        dialogue.run(_typed() if out.is_terminal(sys.stdin) else _piped())
    if dialogue.failed and not out.is_terminal(sys.stdin):
        raise typer.Exit(dialogue.failed)


def _typed() -> Iterator[str]:
    """Lines as they are typed, with history; Ctrl-C begins the line anew, Ctrl-D ends."""
    gc.enable()
    import readline  # noqa: F401  input() edits lines once it is imported

    out.aside("/help lists the commands, Ctrl-D ends\n")
    while True:
        try:
            yield input("> ")
        except EOFError:
            out.aside("\n")
            return
        except signals.Interrupt as interrupt:
            if interrupt.status != 130:
                raise
            signals.forget()
            out.aside("\n")


def _piped() -> Iterator[str]:
    if sys.stdin is None:
        return
    for line in sys.stdin.buffer:
        yield decode_text(line, "stdin").rstrip("\r\n")


def messages(lines: Iterator[str]) -> Iterator[str]:
    """Lines joined to messages: what stands between two lines of three quotes is one."""
    block: list[str] | None = None
    for line in lines:
        if line.strip() == '"""':
            if block is not None:
                yield "\n".join(block)
            block = [] if block is None else None
        elif block is not None:
            block.append(line)
        elif line.strip():
            yield line
    if block:
        yield "\n".join(block)


class Dialogue:
    """One conversation. `last` is the latest question, `kept` whether the hub has it; `changed`: the next turn's system prompt
    was given since; `failed` the first bad status."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self.client = client
        self.asked = asked
        self.last: wire.Generate | None = None
        self.kept = False
        self.changed = asked.system is not None
        self.failed = 0
        self.commands: dict[str, Callable[[str], None]] = {
            "model": self.set_model,
            "system": self.set_system,
            "think": self.set_think,
            "save": self.save,
            "retry": self.retry,
            "undo": self.undo,
            "help": lambda _: out.aside(HELP),
        }

    def run(self, lines: Iterator[str]) -> None:
        for message in messages(lines):
            if message.strip() in ("/exit", "/quit"):
                return
            try:
                self.take(message)
            except LlmctlError as error:
                out.failure(error)
                self.failed = self.failed or error.status
            except signals.Interrupt as interrupt:
                if interrupt.status != 130 or not out.is_terminal(sys.stdin):
                    raise
                signals.forget()
                out.aside("\n")

    def take(self, message: str) -> None:
        name, _, rest = message.strip().partition(" ")
        if name.startswith("/") and name[1:] in self.commands:
            self.commands[name[1:]](rest.strip())
        elif name.startswith("/") and name[1:].isalpha():
            raise Usage(f"there is no command {name}", "/help lists them.")
        else:
            self.say(message)

    def say(self, message: str) -> None:
        self.asked.prompt = message
        self.send(self.client.pack(self.asked, stream=True))

    def send(self, request: wire.Generate) -> None:
        self.last, self.kept = request, False
        (done,) = answer.show(self.client, request, show_reasoning(self.asked))
        self.kept, self.changed = True, False
        for remark in answer.remarks(done):
            out.notice(remark)
        self.asked.continue_ = False
        if done.conversation is not None:
            self.asked.conversation = done.conversation

    def set_model(self, name: str) -> None:
        self.asked.model = name or None

    def set_system(self, text: str) -> None:
        self.asked.system, self.changed = text, True

    def set_think(self, word: str) -> None:
        self.asked.think = word or None

    def save(self, name: str) -> None:
        """What would be asked with now: a template's system prompt with its places, else the one that is in force."""
        from llmctl import templates

        if not name:
            raise Usage("/save needs a name", "")
        folder, system, params = self.client.paths.templates, self.asked.system, {}
        if system is None and self.asked.template is not None:
            of = templates.load(folder, self.asked.template)
            system, params = of.system, of.declared()
        if system is None:
            system = self._last_turn(look=True).system
        asked = self.asked
        options = Asked(
            model=asked.model, system=system, temperature=asked.temperature, think=asked.think, param=params
        )
        out.notice(f"template {name} is stored in {templates.save(folder, name, None, options)}")

    def retry(self, _: str) -> None:
        """The last turn as it was sent, whatever a template would make of it now; with what was changed since."""
        lost = self.last is not None and not self.kept
        last = (lost and self.last) or _as_sent(self._last_turn())
        request = self.client.pack(self.asked, stream=True)
        for name in ("prompt", "files", "params", "declared", *(() if self.changed else ("system",))):
            setattr(request, name, getattr(last, name))
        request.cache = "refresh"
        self.send(request)

    def undo(self, _: str) -> None:
        prompt = self._last_turn().prompt
        self.last, self.kept = None, False
        out.notice("the conversation has no turn" if prompt is None else f"taken back: {prompt}")

    def _last_turn(self, look: bool = False) -> wire.Undone:
        """Taken back, or only looked at."""
        if self.asked.conversation is None and not self.asked.continue_:
            return wire.Undone(prompt=None)
        user = self.client.pack(Asked(user=self.asked.user)).user
        result = self.client.call(wire.Undo(conversation=self.asked.conversation, user=user, look=look))
        return result if isinstance(result, wire.Undone) else wire.Undone(prompt=None)


def _as_sent(turn: wire.Undone) -> wire.Generate:
    """A prompt whose places were filled once: those that its text still shows are text. Raises Usage where there is none."""
    if turn.prompt is None:
        raise Usage("nothing was asked yet", "")
    if "{" not in turn.prompt:
        return wire.Generate(prompt=turn.prompt, system=turn.system)
    return wire.Generate(prompt="{as_it_was_sent}", params={"as_it_was_sent": turn.prompt}, system=turn.system)
