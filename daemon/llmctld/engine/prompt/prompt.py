"""A request in the form that a model reads."""

from dataclasses import dataclass, field

from llmctld.engine.answer.reasoning import TAGS, Tags


@dataclass(frozen=True)
class Prompt:
    """`text`: the rendered template, empty if there was none; no typed text in it counts as a tag. The answer begins inside the
    tags `opened`; `known` are the tags that may occur. `remarks`: for the user, each shown once."""

    tokens: list[int]
    text: str = ""
    opened: Tags | None = None
    known: tuple[Tags, ...] = TAGS
    remarks: list[str] = field(default_factory=list)
