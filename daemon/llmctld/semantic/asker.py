"""How the semantic cache asks a model: requests of the hub's own, whose answers nobody waits for.

It is a promise only; `background.py` keeps it.
"""

from collections.abc import Sequence
from typing import Protocol

from llmctl.wire import Answer, Answers, Generate
from llmctld.models.engines.worker import ChatMessage


class Asker(Protocol):
    """Asks at the lowest priority."""

    async def quiet(self) -> None:
        """Returns once no user waits for an answer."""

    async def generate(
        self, request: Generate, *, messages: Sequence[ChatMessage] = (), load: bool = False, yields: bool = True
    ) -> Answer | Answers:
        """The answer to `request`. `load`: the model may be loaded for it. `yields`: a user's request cancels it.

        Raises GaveWay, and what the pipeline raises.
        """
        ...
