"""Asks a child process whether schemas and grammars compile, and whether complete answers satisfy them.

A question may kill the child. engine/forms/trial.py is the child.
"""

import asyncio
import subprocess
from collections import OrderedDict

import msgspec

from llmctl.errors import Usage
from llmctl.interpreter import module

REMEMBERED = 256
"""Number of schemas and grammars that are remembered as compiling."""
MOST_BYTES = 65_536


class Trial:
    """One child, started by the first question and again after each loss. Questions are answered one at a time."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._good: OrderedDict[tuple[str | None, str | None], None] = OrderedDict()

    async def compile(self, schema: str | None, grammar: str | None) -> None:
        """Raises Usage if it does not compile within the limits on size, time and memory."""
        what, source = ("grammar", grammar) if schema is None else ("schema", schema)
        if (size := len((source or "").encode())) > MOST_BYTES:
            raise Usage(f"the {what} has {size} bytes; the limit is {MOST_BYTES}", "Shorten it.")
        if (schema, grammar) in self._good:
            self._good.move_to_end((schema, grammar))
            return
        verdict = await self._ask({"schema": schema, "grammar": grammar})
        if verdict is None:
            message = f"the {what} does not compile within the limits of time and memory"
            raise Usage(message, "Simplify it: smaller numbers, fewer alternatives, shorter repetitions.")
        if verdict["error"]:
            raise Usage(verdict["error"], verdict["hint"])
        self._good[schema, grammar] = None
        while len(self._good) > REMEMBERED:
            self._good.popitem(last=False)

    async def flaw(self, schema: str | None, grammar: str | None, text: str) -> str:
        """Why a complete answer does not satisfy the schema or grammar; empty if it does."""
        verdict = await self._ask({"schema": schema, "grammar": grammar, "text": text})
        return "it cannot be checked within the time limit" if verdict is None else verdict["error"]

    async def close(self) -> None:
        async with self._turn:
            await self._lose()

    async def _ask(self, question: dict[str, str | None]) -> dict[str, str] | None:
        """The verdict; None if the question killed a new child (an old one may have died before the question)."""
        async with self._turn:
            verdict = await self._exchange(question) if self._child is not None else None
            return await self._exchange(question) if verdict is None else verdict

    async def _exchange(self, question: dict[str, str | None]) -> dict[str, str] | None:
        verdict = None
        try:
            child = self._child or await self._start()
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(msgspec.json.encode(question) + b"\n")
            line = await child.stdout.readline()
            verdict = msgspec.json.decode(line, type=dict[str, str]) if line.endswith(b"\n") else None
        finally:
            if (
                verdict is None
            ):  # the child died, or the request was cancelled and its verdict would answer the next question
                await asyncio.shield(self._lose())
        return verdict

    async def _start(self) -> asyncio.subprocess.Process:
        self._child = await asyncio.create_subprocess_exec(
            *module("llmctld.engine.forms.trial"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=2**20,
        )
        return self._child

    async def _lose(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            if child.returncode is None:
                child.kill()
            await child.wait()
