"""Whether a request is computed again after its engine failed. It knows errors, not what is computed."""

from llmctl.config import ModelEntry
from llmctl.errors import EngineFailed
from llmctld.models.catalogue.target import REMOTE
from llmctld.models.engines.ticket import LowerRung, NoRungLeft, RequestRecalled
from llmctld.runtime.log import log

TRIES = 2
TRIES_OF_BACKEND = {REMOTE: 1}
"""A request to an endpoint is repeated by models/remote, where that is safe."""


class Attempts:
    """The attempts at one request, or at one batch of texts. `kind`: what the log calls it."""

    def __init__(self, entry: ModelEntry, kind: str) -> None:
        self._entry, self._kind = entry, kind
        self._left = TRIES_OF_BACKEND.get(entry.backend, TRIES)

    def failed(self, error: RequestRecalled | EngineFailed, seen: bool = False) -> None:
        """Returns if the request is to be computed again; otherwise raises `error`. `seen`: a part of the answer was sent."""
        if isinstance(error, RequestRecalled):
            log.debug(f"{self._kind} waits for its model again", model=self._entry.name)
            return
        if not isinstance(error, LowerRung):  # on a ladder, once for each rung: every engine that dies leaves out more
            self._left -= 1
        if seen or isinstance(error, NoRungLeft) or not self._left:
            raise error
        log.warning(f"{self._kind} is computed again", model=self._entry.name, error=error.message)
