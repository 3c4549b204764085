"""How the semantic cache asks a model: by requests of the hub's own, for which nobody waits.

This is the contract; `inside/background.py` implements it.
"""

from collections.abc import Sequence
from typing import Protocol

from llmctl.wire import Answer, Answers, Generate
from llmctld.call.origin import Origin
from llmctld.models.engines.ticket import ChatMessage


class Asker(Protocol):
    """Asks at the lowest priority."""

    async def quiet(self) -> None:
        """Returns once no user waits for an answer."""

    async def generate(
        self,
        request: Generate,
        origin: Origin,
        *,
        messages: Sequence[ChatMessage] = (),
        load: bool = False,
        yields: bool = True,
    ) -> Answer | Answers:
        """The answer to `request`. `load`: the model may be loaded for it. `yields`: a user's request cancels it.

        Raises GaveWay, and what the pipeline raises.
        """
        ...
