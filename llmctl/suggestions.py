"""The small open models that `llmctl models suggest` lists (suggested.json): which fit a machine, how fast, and which is best.

It knows the list and arithmetic. It measures nothing, and asks neither the hub nor the network.
"""

import datetime
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from llmctl.config import HOST_SHARE, Limits, load
from llmctl.control_groups import host_memory
from llmctl.errors import LlmctlError
from llmctl.paths import Paths, find_paths
from llmctl.regular import read_json

LIST = Path(__file__).with_name("suggested.json")
PURPOSES = ("chat", "code", "embed", "tools")
"""What a model of the list may be good at."""
CONTEXT = 8192
"""`kv_bytes` in the list is the KV memory of one request with so many tokens, the default context of a model."""
COMPUTE_BYTES = 160 * 2**20
"""What a step needs besides weights and KV memory, at most, for the models of the list (by the hub's own estimate)."""
EFFICIENCY, GPU_EFFICIENCY = 0.72, 0.65
"""Share of a step's time in which its matrices are multiplied; attention, norms, sampling and waiting take the rest."""
ROWS = 640_000
"""Rows of all matrices of a model with a billion parameters. They grow with the square root of the parameters, since the rows of
a larger model are longer too: about 810 columns with 270 million parameters, 4,400 with 8 billion.
"""
ASSUMED_BYTES_PER_S, ASSUMED_ROW_S = 25e9, 10e-9
"""Bandwidth of host memory, and time per row, before they were measured: a small machine's."""
READABLE = 5.0
"""Tokens per second below which a person waits for the words; such a model comes after all faster ones."""


class Suggestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model of the list. `parameters`, `active`: billions; `active` only of a mixture of experts, which reads no others.

    `exact`: whether a source confirms `bytes` to the byte. `source`: where the facts were found.
    """

    name: str
    repo: str
    file: str
    quantization: str
    bytes: int
    exact: bool = True
    sha256: str
    parameters: float
    active: float | None = None
    licence: str
    context: int
    kv_bytes: int
    good_at: list[str]
    note: str
    source: str

    @property
    def target(self) -> str:
        """The argument of `llmctl pull`."""
        return f"{self.repo}:{self.quantization}"

    @property
    def command(self) -> str:
        return f"llmctl pull {self.target}"

    @property
    def needs_bytes(self) -> int:
        """Memory for one request with the default context."""
        return self.bytes + self.kv_bytes + COMPUTE_BYTES

    @property
    def token_bytes(self) -> float | None:
        """Bytes read for each generated token; None for an embedding model, which generates none."""
        if "embed" in self.good_at:
            return None
        return self.bytes * (1 if self.active is None else self.active / self.parameters)

    @property
    def token_rows(self) -> float:
        """Rows of matrices that are multiplied for each generated token, by a rule of thumb."""
        return ROWS * math.sqrt(self.active or self.parameters)


class SuggestedModels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list, best first. `dated`: when its facts were last looked up."""

    dated: datetime.date
    models: list[Suggestion]


class Bandwidth(msgspec.Struct, frozen=True):
    """Measured memory bandwidth in bytes per second, as stored in `Paths.bandwidth`; None without such memory.

    `key`: the processor, the cores and the build of llama.cpp that it holds for. `row_s`: seconds that each row of a matrix in
    host memory takes in addition.
    """

    measured: datetime.date
    key: str
    host: Annotated[float, msgspec.Meta(gt=0)] | None = None
    gpu: Annotated[float, msgspec.Meta(gt=0)] | None = None
    row_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Room(NamedTuple):
    """What models may use on a machine: bytes of memory, and bytes per second that are read from it (None: unknown).

    `row_s`: seconds per row of a matrix in host memory.
    """

    host: int
    gpu: int = 0
    host_rate: float | None = None
    gpu_rate: float | None = None
    row_s: float = 0.0


class Ranked(NamedTuple):
    """A model on one machine. `rate`: estimated tokens per second; None if unknown, if the model does not fit, or if it
    generates none.
    """

    model: Suggestion
    fits: bool
    rate: float | None


@cache
def suggested() -> SuggestedModels:
    return msgspec.json.decode(LIST.read_bytes(), type=SuggestedModels)


def ranked(room: Room, purpose: str | None = None, models: Sequence[Suggestion] | None = None) -> list[Ranked]:
    """The models, those for `purpose` only: first those that fit and are fast enough to read along, best first; then
    slower ones, fastest first; then those that do not fit, smallest first.
    """
    listed = suggested().models if models is None else models
    found = [_on(room, model) for model in listed if purpose is None or purpose in model.good_at]
    quick = [it for it in found if it.fits and (it.rate is None or it.rate >= READABLE)]
    slow = [it for it in found if it.fits and it not in quick]
    large = [it for it in found if not it.fits]
    return [
        *quick,
        *sorted(slow, key=lambda it: -(it.rate or 0)),
        *sorted(large, key=lambda it: it.model.needs_bytes),
    ]


def _on(room: Room, model: Suggestion) -> Ranked:
    fits = model.needs_bytes <= room.host + room.gpu
    return Ranked(model, fits, tokens_per_second(room, model) if fits else None)


def tokens_per_second(room: Room, model: Suggestion) -> float | None:
    """An estimate for one request: the time to read the bytes of a token, and on the host the time of its rows. The GPU holds as
    much of the model as fits.
    """
    if model.token_bytes is None:
        return None
    on_gpu = min(1.0, room.gpu / model.needs_bytes) if room.gpu_rate else 0.0
    seconds = 0.0
    if on_gpu < 1:
        if not room.host_rate:
            return None
        seconds = (1 - on_gpu) * (model.token_bytes / room.host_rate + model.token_rows * room.row_s) / EFFICIENCY
    if on_gpu > 0 and room.gpu_rate:
        seconds += on_gpu * model.token_bytes / (GPU_EFFICIENCY * room.gpu_rate)
    return 1 / seconds


def best_fit(purpose: str = "chat") -> Suggestion:
    """The best model of the list that fits this machine, the smallest if none does; for hints and help. It takes a millisecond
    or two, and never raises. It goes by the limits of the configuration, and by the bandwidth if `models suggest` measured it.
    """
    return _best(purpose).model


def _best(purpose: str) -> Ranked:
    paths, limits = _configured()
    measured = None if paths is None else read_bandwidth(paths.bandwidth)
    rate, row_s = ASSUMED_BYTES_PER_S, ASSUMED_ROW_S
    if measured is not None and measured.host:
        rate, row_s = measured.host, measured.row_s
    share = int(host_memory() * HOST_SHARE) if limits.memory_bytes is None else limits.memory_bytes
    return ranked(Room(share, host_rate=rate, row_s=row_s), purpose)[0]


def _configured() -> tuple[Paths | None, Limits]:
    """A broken configuration has errors of its own, which another command reports."""
    paths = None
    try:
        paths = find_paths()
        return paths, load(paths.config_file).limits
    except LlmctlError:
        return paths, Limits()


def read_bandwidth(file: Path) -> Bandwidth | None:
    """The stored measurement; None if there is none that can be read."""
    try:
        return read_json(file, Bandwidth)
    except (OSError, ValueError):
        return None


def no_model_hint() -> str:
    """The hint of an error for somebody who has no model yet."""
    best, fits, _ = _best("chat")
    which = "one that fits this machine" if fits else "the smallest on the list; none fits in the memory for models"
    return (
        f"`{best.command}` downloads {which} ({gigabytes(best)}); `llmctl models suggest` lists others; "
        "`llmctl models find` lists those of other programs on this machine; `llmctl models add NAME FILE.gguf` adds a file."
    )


def gigabytes(model: Suggestion) -> str:
    """The size of the download, as download pages write it."""
    return f"{'' if model.exact else 'about '}{model.bytes / 1e9:.1f} GB"
