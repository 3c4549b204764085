"""`llmctl chat`: a stored conversation at a prompt, or from a pipe, one message per line.

It reads messages and carries out the commands that begin with /; the hub stores the conversation.
"""

import gc
import sys
from collections.abc import Callable, Iterator

import typer

from llmctl import wire
from llmctl.cli.asking import answer, options
from llmctl.cli.console import flags, help, out, signals
from llmctl.client import Client
from llmctl.errors import LlmctlError, Usage
from llmctl.options import Asked
from llmctl.request import show_reasoning
from llmctl.written import decode_text

app = flags.group()

HELP = """/model NAME     use another model
/system TEXT    set the system prompt; without TEXT: remove it
/think LEVEL    on, off, low, medium or high; without LEVEL: the model's default
/save NAME      store model and system prompt as a template
/retry          discard the last answer and ask again
/undo           remove the last question and its answer
/help           print this list
/exit           quit (also Ctrl-D); Ctrl-C stops only the current answer
\"\"\"             alone on a line: begins and ends a message of several lines
"""
EXAMPLES = """
llmctl chat
llmctl chat -m qwen -s "You are a terse Unix expert."
llmctl chat -c
printf 'My name is Ana.\\nWhat is my name?\\n' | llmctl chat
"""


@app.command(cls=help.Sectioned, epilog=EXAMPLES)
def chat(
    system: options.System = None,
    template: options.Template = None,
    overflow: options.Overflow = None,
    continue_: options.Continue = False,
    conversation: options.Conversation = None,
    model: options.Model = None,
    user: options.User = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    think: options.Think = None,
    reasoning: options.Reasoning = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Hold a conversation at a prompt.

    From a pipe, each line is a message. /help lists the commands of the prompt.
    """
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
    """Typed lines, with editing and history; Ctrl-C discards the current line, Ctrl-D ends."""
    gc.enable()
    import readline  # noqa: F401  input() edits lines once it is imported

    out.aside("/help lists the commands, Ctrl-D quits\n")
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
    """Joins lines to messages: a message is one line, or all lines between two lines of three quotes."""
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
    """One conversation.

    `last` is the latest request and `kept` whether the hub stored its turn; `changed`: the system prompt was set since the last
    turn; `failed` is the exit status of the first failure.
    """

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
            raise Usage(f"there is no command {name}", "/help lists the commands.")
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
        """Stores the model and the system prompt in use: the option, else the template's (unfilled), else the last turn's."""
        from llmctl import templates

        if not name:
            raise Usage("/save needs a name", "An example: /save brief.")
        folder, system, params = self.client.paths.templates, self.asked.system, {}
        if system is None and self.asked.template is not None:
            of = templates.load(folder, self.asked.template)
            system, params = of.system, of.declared()
        if system is None:
            system = self._last_turn(look=True).system
        asked = self.asked
        kept = Asked(model=asked.model, system=system, temperature=asked.temperature, think=asked.think, param=params)
        out.notice(f"template {name} is stored in {templates.save(folder, name, None, kept)}")

    def retry(self, _: str) -> None:
        """Sends the last turn again as it was sent, without its template, but with the options changed since."""
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
        out.notice("this conversation has no turn to remove" if prompt is None else f"removed: {prompt}")

    def _last_turn(self, look: bool = False) -> wire.Undone:
        """Removes the last turn and returns it; with `look` it only returns it."""
        if self.asked.conversation is None and not self.asked.continue_:
            return wire.Undone(prompt=None)
        user = self.client.pack(Asked(user=self.asked.user)).user
        result = self.client.call(wire.Undo(conversation=self.asked.conversation, user=user, look=look))
        return result if isinstance(result, wire.Undone) else wire.Undone(prompt=None)


def _as_sent(turn: wire.Undone) -> wire.Generate:
    """The turn as a request. Its parameters are filled already, so braces in it are text. Raises Usage if there is no turn."""
    if turn.prompt is None:
        raise Usage("there is no earlier question to ask again", "Ask something first.")
    if "{" not in turn.prompt:
        return wire.Generate(prompt=turn.prompt, system=turn.system)
    return wire.Generate(prompt="{as_it_was_sent}", params={"as_it_was_sent": turn.prompt}, system=turn.system)
