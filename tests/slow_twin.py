"""llama.cpp's own plain loop: one model, one sequence, one token at a time, and the likeliest one follows.

It knows the library and nothing of llmctl: what the engine does in batches, with prefixes and drafts, is held against it.
"""

import ctypes
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

FAR, NOISE = 0.3, 0.15
"""Of the spread of all logits: how far apart the two best are at least, and how much a way of computing may change any."""
TRIES = 100
BEGIN = 40
"""Letters that two prompts have in common: so many that they are worth saving."""
LETTERS = "etaoin shrdlu"


class Said(NamedTuple):
    """A token, and the row of logits that it was the likeliest of."""

    token: int
    row: NDArray[np.float32]

    @property
    def margin(self) -> float:
        """By how much its logit was larger than the next one's, of the spread (standard deviation) of all."""
        second, first = np.partition(self.row, -2)[-2:]
        return float((first - second) / self.row.std())

    @property
    def gap(self) -> float:
        """The same in logits."""
        second, first = np.partition(self.row, -2)[-2:]
        return float(first - second)


class Twin:
    """Of one file. `extra`: with weights laid out anew for special kernels, as the library does by itself."""

    def __init__(self, path: Path, context: int = 512, threads: int = 1, *, extra: bool = True) -> None:
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers, parameters.use_extra_bufts = 0, extra
        self._model: Any = lib.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model, path
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._size: int = lib.llama_vocab_n_tokens(self._vocab)
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = context, 1
        settings.n_threads = settings.n_threads_batch = threads
        self._context: Any = lib.llama_init_from_model(self._model, settings)
        assert self._context, path

    def close(self) -> None:
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)

    def tokens(self, text: str) -> list[int]:
        """With the begin token, where the model wants one."""
        data = text.encode()
        found = (lib.llama_token * (len(data) + 16))()
        count: int = lib.llama_tokenize(self._vocab, data, len(data), found, len(found), True, True)
        return list(found[:count])

    def greedy(self, prompt: list[int], count: int, *, at_once: bool = False) -> list[Said]:
        """At most `count` tokens; an end token is the last. `at_once`: the prompt goes through the model in one piece."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        for piece in [prompt] if at_once else [[token] for token in prompt]:
            row = self._decode(piece)
        said: list[Said] = []
        while len(said) < count:
            said.append(Said(int(row.argmax()), row))
            if lib.llama_vocab_is_eog(self._vocab, said[-1].token):
                break
            row = self._decode([said[-1].token])
        return said

    def gaps(self, prompt: list[int], said: list[Said]) -> list[float]:
        """By how much the best token's logit is larger than the next one's, at each of those, read token by token."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        for token in prompt:
            row = self._decode([token])
        found = []
        for each in said:
            second, first = np.argsort(each.row)[-2:]
            found.append(float(row[first] - row[second]))
            row = self._decode([each.token])
        return found

    def text(self, said: list[Said]) -> str:
        """As a reader sees it: control tokens are silent."""
        whole = b""
        for token, _ in said:
            buffer = ctypes.create_string_buffer(256)
            size = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
            whole += buffer.raw[:size]
        return whole.decode(errors="replace")

    def _decode(self, tokens: list[int]) -> NDArray[np.float32]:
        array = (lib.llama_token * len(tokens))(*tokens)  # the batch only points at it
        status = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(tokens)))
        assert status == 0, status
        found = np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, -1), (self._size,))
        row: NDArray[np.float32] = found.copy()  # the next call writes over it
        return row


def sure(twin: Twin, count: int) -> Iterator[tuple[str, str]]:
    """Prompts of which rounding decides nothing, with their answers; two at a time begin alike."""
    dice = random.Random(5)
    for _ in range(TRIES):
        begin = "".join(dice.choices(LETTERS, k=BEGIN))
        pair = [begin + "".join(dice.choices(LETTERS, k=10)) for _ in range(2)]
        answers = [answer(twin, prompt, count) for prompt in pair]
        if all(answer is not None for answer in answers):
            yield from zip(pair, map(str, answers), strict=True)
    raise AssertionError(f"of {2 * TRIES} prompts too few are sure")


def answer(twin: Twin, prompt: str, count: int) -> str | None:
    """None where rounding may decide about one of its tokens."""
    tokens = twin.tokens(prompt)
    slowly, at_once = twin.greedy(tokens, count), twin.greedy(tokens, count, at_once=True)
    if len(slowly) < count or [each.token for each in slowly] != [each.token for each in at_once]:
        return None
    noise = max(np.abs(a.row - b.row).max() / a.row.std() for a, b in zip(slowly, at_once, strict=True))
    is_sure = noise < NOISE and min(each.margin for each in slowly) > FAR
    return twin.text(slowly) if is_sure else None


def extra_works(path: Path) -> bool:
    """Whether a process that multiplies with the library's special kernels lives: on some machines it does not."""
    script = "from pathlib import Path; from tests.slow_twin import Twin; "
    script += f"Twin(Path({str(path)!r})).greedy([1] * 33, 2, at_once=True)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0
