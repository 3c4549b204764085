"""A llama_batch on numpy arrays, so that a step fills slices instead of looping over tokens.

It knows the layout of the library's struct.
"""

import ctypes
from collections.abc import Sequence

import llama_cpp.llama_cpp as lib
import numpy as np

from llmctld.engine.streams.sequence import Chunk


class Batch:
    """Room for `size` tokens."""

    def __init__(self, size: int) -> None:
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._stream = np.zeros(size, np.int32)
        self._output = np.zeros(size, np.int8)
        self._one = np.ones(size, np.int32)
        self._pointers = self._stream.ctypes.data + np.arange(size, dtype=np.uintp) * self._stream.itemsize
        self.struct = lib.llama_batch()
        for field, array in (
            ("token", self._token),
            ("pos", self._position),
            ("n_seq_id", self._one),
            ("seq_id", self._pointers),
            ("logits", self._output),
        ):
            kind = dict(lib.llama_batch._fields_)[field]
            setattr(self.struct, field, ctypes.cast(array.ctypes.data, kind))

    def fill(self, chunks: list[Chunk], vocabulary: int | None = None) -> list[int | None]:
        """Lay out the chunks one after another; returns, for each that samples, the first row to sample from. A token of
        `vocabulary` or more becomes the last token."""
        rows: list[int | None] = []
        end = 0
        for chunk in chunks:
            begin, last = end, end + chunk.count - 1
            end += chunk.count + len(chunk.draft)
            rows.append(last if chunk.samples else None)
            if end - begin == 1:  # the common case (no draft); a slice costs ten times as much
                token = chunk.sequence.tokens[chunk.start]
                self._lay_one(begin, token, chunk.start, chunk.stream, chunk.samples)
                continue
            self._token[begin:end] = chunk.tokens + chunk.draft
            self._position[begin:end] = np.arange(chunk.start, chunk.start + end - begin)
            self._stream[begin:end] = chunk.stream
            self._output[begin:end] = 0
            if chunk.samples:
                self._output[last:end] = 1
        if vocabulary is not None:
            np.minimum(self._token[:end], vocabulary - 1, out=self._token[:end])
        self.struct.n_tokens = end
        return rows

    def fill_one(self, token: int, position: int, stream: int) -> None:
        """One token whose logits are not computed."""
        self._lay_one(0, token, position, stream, False)
        self.struct.n_tokens = 1

    def _lay_one(self, row: int, token: int, position: int, stream: int, output: bool) -> None:
        self._token[row], self._position[row], self._stream[row] = token, position, stream
        self._output[row] = output

    def fill_texts(self, texts: Sequence[Sequence[int]]) -> None:
        """Whole texts, each in its own stream from 0 on, with output for every token."""
        end = 0
        for stream, tokens in enumerate(texts):
            begin, end = end, end + len(tokens)
            self._token[begin:end] = tokens
            self._position[begin:end] = np.arange(end - begin)
            self._stream[begin:end] = stream
        self._output[:end] = 1
        self.struct.n_tokens = end
