"""A request as a model reads it: its tokens, and what the template says about them."""

from dataclasses import dataclass, field

from llmctld.engine.answer.reasoning import TAGS, Tags


@dataclass(frozen=True)
class Prompt:
    """A request as the model reads it. `text` is what the template made, empty where there was none to make, and says of nothing
    typed that it is a tag. The answer begins inside the tags `opened`; `known` are those that may come. `remarks`: what the one
    who asks should know, each told once.
    """

    tokens: list[int]
    text: str = ""
    opened: Tags | None = None
    known: tuple[Tags, ...] = TAGS
    remarks: list[str] = field(default_factory=list)
