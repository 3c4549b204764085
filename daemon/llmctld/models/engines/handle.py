"""A loaded model as requests see it, wherever it runs: submit a request, count who uses it, end it.

It is the contract of engine processes (worker.py) and of remote endpoints (remote/model.py), and knows neither.
"""

import asyncio
from abc import ABC, abstractmethod

from llmctld.engine import messages
from llmctld.models.engines.ticket import Submit, Texts, Ticket


class ModelHandle(ABC):
    """A loaded model that requests lease. `loaded`: its report after loading; `busy`: requests, or texts, being
    computed.
    """

    def __init__(self, name: str, backend: str) -> None:
        self.name, self.backend = name, backend
        self.loaded: messages.Loaded | None = None
        self.busy = self.leases = 0
        self.retiring = 0  # callers of ModelPool.retire that wait for the last lease
        self.unused = asyncio.Event()
        self.unused.set()
        self.tokens_per_second = 0.0
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """0: no process on this machine."""
        return 0

    @property
    def memory_bytes(self) -> int:
        """Resident memory on this machine."""
        return 0

    @property
    def rung(self) -> str | None:
        """The rung of the ladder that the loaded model runs on; None if there is only one."""
        return None

    @property
    def state(self) -> str:
        """The state shown by `llmctl ps`."""
        return "busy" if self.busy else "ready"

    def take(self) -> None:
        """Adds a lease."""
        self.leases += 1
        self.unused.clear()

    def give_back(self) -> None:
        self.leases -= 1
        if not self.leases:
            self.unused.set()

    @abstractmethod
    async def start(self) -> None:
        """Returns once the model is loaded. Raises ModelUnavailable."""

    @abstractmethod
    def submit(self, request: Submit | Texts) -> Ticket:
        """Starts `request` under a new number. Raises EngineFailed if the model has ended."""

    @abstractmethod
    def drop(self, number: int) -> bool:
        """Cancels a request. False: it has already ended."""

    @abstractmethod
    def move(self, number: int, user: str, priority: int) -> None:
        """Queues a request for another user, with another priority. One that runs goes on."""

    def recall(self) -> None:
        """Asks for the return of requests that have not started; each raises RequestRecalled."""
        return  # a model without memory has nothing to free

    @abstractmethod
    async def stop(self) -> None:
        """Returns once the model has ended."""
