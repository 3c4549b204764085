"""Which thinking options (on, off, low, medium, high) a chat template supports, found by rendering it with each.

It knows the variables and system lines of the families, and by model name those whose template mentions nothing.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from llmctld.engine.errors import Refusal

Render = Callable[[list[dict[str, Any]], dict[str, Any]], str | None]
"""Renders messages with variables; None if the template refuses."""

WORDS = ("on", "off", "low", "medium", "high")
LEVELS = ("low", "medium", "high")
SWITCHES: tuple[tuple[str, Any, Any], ...] = (
    ("enable_thinking", True, False),
    ("thinking", True, False),
    ("reasoning", True, False),
    ("thinking_mode", "enabled", "disabled"),
    ("thinking_option", "on", "off"),
)
"""Variable, value for on, value for off."""
EFFORTS = ("reasoning_effort", "thinking_effort", "reasoning_strength")
"""Variables that take a level by name."""
NONE = ("none", "no_think", "minimal")
"""Names that some templates use for off."""
BUDGETS: tuple[tuple[str, dict[str, int]], ...] = (
    ("thinking_budget", {"on": -1, "off": 0, "low": 512, "medium": 2048, "high": 8192}),
)
"""Variables that take a number of tokens."""
LINES = (("/think", "/no_think"), ("/think", "/nothink"), ("detailed thinking on", "detailed thinking off"))
"""Lines for the system message, on and off, for templates that contain them."""
FAMILIES = (
    (re.compile(r"llama[-_ .0-9]*nemotron", re.IGNORECASE), "detailed thinking on", "detailed thinking off"),
    (re.compile(r"\bmimo[-_ ]vl", re.IGNORECASE), "/think", "/no_think"),
)
"""Models trained on such lines whose template does not contain them, by the name in the model file."""
NONSENSE = "qx7nonsense"
PROBE = "qx7question"


class ThinkingInput(NamedTuple):
    """How to pass an option to a template: by variables or by a system line."""

    variables: dict[str, Any]
    line: str = ""


class Thinking:
    """What a template supports. `always`: the model thinks whatever is set."""

    def __init__(self, render: Render, names: Iterable[str], source: str, model: str = "") -> None:
        self._render, self._names, self._source = render, frozenset(names), source
        self.always = False
        self._ways: dict[str, ThinkingInput] = {}
        self._ways = self._switch() or self._lines()
        lines = next(((on, off) for name, on, off in FAMILIES if name.search(model)), None)
        if lines and not self._ways:
            self._ways = {word: ThinkingInput({}, line) for word, line in zip(("on", "off"), lines, strict=True)}
        for name in EFFORTS:
            if name in self._names:
                self._ways = self._effort(name) | self._ways
        for name, numbers in BUDGETS:
            if name in self._names:
                self._ways = self._budget(name, numbers) | self._ways

    @property
    def words(self) -> list[str]:
        """Supported options."""
        found = dict(self._ways) | ({"on": ThinkingInput({})} if self.always else {})
        return [word for word in WORDS if word in found]

    def input_for(self, word: str) -> ThinkingInput:
        """Raises Refusal that lists the supported options."""
        if word in self._ways:
            return self._ways[word]
        if word == "on" and self.always:
            return ThinkingInput({})
        there = f"it supports {', '.join(self.words)}" if self.words else "its template has no thinking option"
        hint = "Omit `--think`, or check the model's setting `think` with `llmctl models show`."
        if self.words:
            hint = f"Ask with `--think {self.words[0]}`, or without."
        raise Refusal("invalid_request", f"think is {word!r}, which this model does not support: {there}", hint)

    def _text(self, variables: dict[str, Any], system: str = "") -> str | None:
        before = [{"role": "system", "content": system}] if system else []
        return self._render([*before, {"role": "user", "content": PROBE}], variables)

    def _switch(self) -> dict[str, ThinkingInput]:
        for name, on, off in SWITCHES:
            if name in self._names:
                texts = self._text({name: on}), self._text({name: off})
                if None not in texts and texts[0] != texts[1]:
                    return {"on": ThinkingInput({name: on}), "off": ThinkingInput({name: off})}
        return {}

    def _lines(self) -> dict[str, ThinkingInput]:
        for on, off in LINES:
            if off not in self._source:
                continue
            texts = self._text({}, on), self._text({}, off)
            if texts[0] is None or texts[1] is None:
                continue
            if " " in off or texts[0].replace(on, "") != texts[1].replace(off, ""):
                return {"on": ThinkingInput({}, on), "off": ThinkingInput({}, off)}
        return {}

    def _effort(self, name: str) -> dict[str, ThinkingInput]:
        """Levels that change the text more than an unknown word does, and `off` if it changes more than its name."""
        on = self._ways["on"].variables if "on" in self._ways else {}
        nonsense = self._text(on | {name: NONSENSE})
        found = {}
        for word in LEVELS:
            text = self._text(on | {name: word})
            if text is not None and text != nonsense:
                found[word] = ThinkingInput(on | {name: word})
        for word in NONE:
            text = self._text({name: word})
            if text is None or "off" in self._ways or "off" in found:
                continue
            if nonsense is None or text.replace(word, "") != nonsense.replace(NONSENSE, ""):
                found["off"] = ThinkingInput({name: word})
        if found and "on" not in self._ways:
            found["on"] = self._on(name, found)
        return found

    def _on(self, name: str, found: dict[str, ThinkingInput]) -> ThinkingInput:
        """The default rendering, unless that is off."""
        base = self._text({})
        if "off" not in found or base != self._text(found["off"].variables):
            return ThinkingInput({})
        return next((found[word] for word in ("medium", "high", "low") if word in found), ThinkingInput({}))

    def _budget(self, name: str, numbers: dict[str, int]) -> dict[str, ThinkingInput]:
        texts = {word: self._text({name: number}) for word, number in numbers.items()}
        others = {word for word, text in texts.items() if text is not None and (word == "on" or text != texts["on"])}
        return {word: ThinkingInput({name: numbers[word]}) for word in others} if len(others) > 1 else {}
