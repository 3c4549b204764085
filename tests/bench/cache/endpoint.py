"""A model that knows the answers: an endpoint of the OpenAI kind on a loopback port that answers each question with text of its
group, gives a truthful verdict when it is asked to judge, and counts every call.

It is a server of its own, in a thread; it knows llmctl's question to a judge by the tags in it, and the examination of judges by
its texts.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llmctld.semantic.judge import exams

from tests.loop_thread import loop_thread

WORDS = """
amber anchor apple arrow bamboo basil beacon berry birch bottle branch breeze brick bridge bronze bucket button cable
candle canvas carbon castle cedar cherry clover cobalt copper coral cotton crystal daisy desert ember fabric falcon feather
fern flint forest garden ginger glacier granite harbor hazel honey island ivory jasmine juniper kettle lantern lemon lilac
linen magnet maple marble meadow mirror mosaic
""".split()  # noqa: SIM905
SAYINGS = (
    "{}",
    "In short: {}",
    "What most would say is {}",
    "It depends, though mainly {}",
    "{}, as far as is known",
    "Let me think: {}",
    "The usual view is {}",
    "Experts tend towards {}",
    "{} would be my answer",
    "The good reply is {}",
    "Briefly put, {}",
    "You will often hear {}",
    "{}, and little else",
    "Everything points to {}",
    "Try {}",
    "Consider {}",
)
"""One answer in other words; lower-case words, so that nothing in it looks like a number or a name."""
ASKED = re.compile(r"<request>\n(.*?)\n</request>\n<answer>\n(.*?)\n</answer>\n<other>\n(.*?)\n</other>", re.S)


class Endpoint:
    """`groups`: the group of each question. `other_words`: equal groups answer in different words each time.

    `wrong_verdicts`: the share of a judge's verdicts that are wrong, of those of the examination too.
    """

    def __init__(
        self, groups: Mapping[str, int], *, other_words: bool = False, wrong_verdicts: float = 0.0, seed: int = 0
    ) -> None:
        self.url, self.groups = "", dict(groups)
        self.calls = self.verdicts = self.open = 0
        """All calls; those of them that were questions to a judge; those that are being answered."""
        self.last = time.monotonic()
        """When the last one came."""
        self._other_words, self._wrong = other_words, wrong_verdicts
        self._draw = random.Random(seed)
        self._truth = {(exam.request, exam.answer, exam.other): exam.serves for exam in exams()}

    def group_of(self, answer: str) -> int | None:
        """Whose answer it is; None: of no group."""
        found = re.search(r"\b[a-z]+-[a-z]+-[a-z]+\b", answer)
        return None if found is None else decoded(found.group())

    def answer(self, question: str) -> str:
        code = coded(self.groups[question])
        return self._draw.choice(SAYINGS).format(code) if self._other_words else SAYINGS[0].format(code)

    def verdict(self, request: str, answer: str, other: str) -> bool:
        known = self._truth.get((request, answer, other))
        right = self.group_of(answer) == self.group_of(other) if known is None else known
        return right != (self._draw.random() < self._wrong)

    def reply(self, body: Mapping[str, Any]) -> str:
        question: str = body["messages"][-1]["content"]
        judged = ASKED.search(question) if "response_format" in body else None
        if judged is None:
            return self.answer(question)
        self.verdicts += 1
        return json.dumps({"serves": self.verdict(*judged.groups())})

    # ---- the server -------------------------------------------------------------------------------------------------

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: *(\d+)", head, re.I)
                body = await reader.readexactly(int(length.group(1)) if length else 0)
                kind, text = self._respond(head, body)
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _respond(self, head: str, body: bytes) -> tuple[str, bytes]:
        if not head.startswith("POST"):
            return "application/json", json.dumps({"object": "list", "data": [{"id": "oracle"}]}).encode()
        self.calls += 1
        self.last = time.monotonic()
        text = self.reply(json.loads(body))
        choices = [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        events = [{"choices": choices}, {"choices": [], "usage": usage}]
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return "text/event-stream", f"{lines}data: [DONE]\n\n".encode()


def coded(group: int) -> str:
    """Three words for a number below 226,981."""
    high, low = divmod(group, len(WORDS))
    return "-".join(WORDS[place] for place in (high // len(WORDS), high % len(WORDS), low))


def decoded(code: str) -> int | None:
    try:
        high, middle, low = (WORDS.index(word) for word in code.split("-"))
    except ValueError:
        return None
    return (high * len(WORDS) + middle) * len(WORDS) + low


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Listens until the block is left."""
    with loop_thread() as loop:
        starting = asyncio.start_server(endpoint.handle, "127.0.0.1", 0, limit=2**20)
        listening = asyncio.run_coroutine_threadsafe(starting, loop).result()
        endpoint.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        try:
            yield endpoint
        finally:
            asyncio.run_coroutine_threadsafe(_end(listening), loop).result()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    here = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not here]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
