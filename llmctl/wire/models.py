"""Messages about models: add, pull, estimate, describe, load, pin, unload, and the engines that run them."""

from typing import Any, ClassVar

import msgspec

from llmctl.wire.message import Plain, Result


class Ps(Plain, kw_only=True, tag="ps"):
    """Lists the engine processes. -> `engines`"""


class AddModel(Plain, kw_only=True, tag="add_model"):
    """Checks the target and writes the model's file. -> `model`"""

    name: str
    """what the model is called"""
    target: str
    """an absolute path of a GGUF file or of a folder of transformers or sentence-transformers, the address of
    an endpoint of the OpenAI kind, or `echo`"""
    aliases: list[str] = []
    """further names"""
    settings: dict[str, str] = {}
    """`--set key=value`, read strictly as `models.NAME.key`"""
    kind: str | None = None
    """`text` or `embedding`: what an endpoint's model makes; other targets tell it themselves"""
    force: bool = False
    """replace a model of this name"""
    origin: str = ""
    """`ollama:NAME` if the target is a file of that program, which may replace or remove it; else empty"""


class PullModel(Plain, kw_only=True, tag="pull_model"):
    """Downloads a model from the Hugging Face hub and adds it. -> `model`

    An interrupted download continues where it stopped; cancelling keeps what has come. The token is used for this request
    alone and is never written down.
    """

    is_work: ClassVar[bool] = True

    repo: str
    """OWNER/NAME"""
    file: str | None = None
    """a GGUF file, or a quantisation that one file of the repository has; null: the largest of Q4_K_M, Q4_0 and
    Q8_0 that fits, or the folder"""
    name: str | None = None
    """what to call the model; null: as its file or repository"""
    aliases: list[str] = []
    """further names"""
    settings: dict[str, str] = {}
    """as of `add_model`"""
    force: bool = False
    """replace a model of this name"""
    endpoint: str | None = None
    """address to ask instead of https://huggingface.co"""
    token: str | None = None
    """of an account there; null: the one that `hf auth login` stored, if any"""

    def __repr__(self) -> str:
        return f"PullModel(repo={self.repo!r}, file={self.file!r}, name={self.name!r})"  # keeps the token out of logs

    @property
    def subject(self) -> str | None:
        return self.name or self.repo


class EstimateModel(Plain, kw_only=True, tag="estimate_model"):
    """Estimates what a model takes in memory; nothing is loaded. -> `estimated`"""

    target: str
    """name or alias of a model, or the absolute path of one that was not added"""
    settings: dict[str, str] = {}
    """over those that the model has"""


class DescribeFiles(Plain, kw_only=True, tag="describe_files"):
    """Says what files and folders contain, from their headers, and whether they fit in memory. -> `described`"""

    paths: list[str]
    """absolute paths of GGUF files (the first part of several) and of folders"""


class RemoveModel(Plain, kw_only=True, tag="remove_model"):
    """Unloads a model, forgets it, and deletes the files that a pull downloaded for it alone; no other file. ->
    `nothing`"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""


class LoadModel(Plain, kw_only=True, tag="load_model"):
    """Loads a model. -> `engines`, with the lines of this model"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""
    replicas: int | None = None
    """number of processes, until it is unloaded; null: one at least"""


class PinModel(Plain, kw_only=True, tag="pin_model"):
    """Loads the model and keeps it loaded, also by the next hub; or ends that. -> `engines`, with the lines of
    this model"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""
    pinned: bool = True
    """false: unpin"""


class UnloadModel(Plain, kw_only=True, tag="unload_model"):
    """Ends the model's engine once it serves nobody. -> `nothing`; `model_unavailable` when it is not loaded"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""


class EngineStatus(msgspec.Struct):
    """A line of `ps --json`: one engine process."""

    name: str
    """of the model"""
    backend: str
    """`llama.cpp`, `transformers`, `sentence-transformers` or `echo`"""
    pid: int
    """of the engine"""
    state: str
    """`loading`, `ready` or `busy`; `down`: an endpoint that failed several times in a row"""
    replica: int
    """0 for the first"""
    memory_bytes: int
    """weights, KV memory and compute buffers"""
    context: int
    """tokens that one request may use"""
    slots: int
    """requests that run together"""
    busy: int
    """slots that hold a request"""
    tokens_per_second: float | None = None
    """over the last seconds, all requests together"""
    until: str | None = None
    """when it is unloaded if nobody uses it; null: it stays, or is in use"""
    gpu_bytes: int = 0
    """memory on GPUs, as the engine measured it"""
    gpu_layers: int = 0
    """layers on GPUs"""
    layers: int = 0
    """all layers, the output layer included; 0: it is not split by layers"""
    devices: list[str] = []
    """where it lies, in the names of the engine's library, GPUs first"""
    gpu_share: float | None = None
    """share of the model's memory that is on GPUs (0 to 1); null: unknown"""
    rung: str | None = None
    """how much of llama.cpp it may use: "as it is" unless that crashes; null while it loads, and of any other
    backend"""


class Engines(Result, kw_only=True, tag="engines", omit_defaults=False):
    """All engine processes, or those that were asked for."""

    engines: list[EngineStatus]
    """a line each"""


class Model(Result, kw_only=True, tag="model", omit_defaults=False):
    """A model as it was added."""

    name: str
    target: str
    """path, address or `echo`"""
    backend: str
    """`llama.cpp`, `transformers`, `sentence-transformers`, `remote` or `echo`"""
    kind: str = "text"
    """what it makes: `text` or `embedding`"""
    aliases: list[str]
    settings: dict[str, Any]
    """as they were given"""


class Estimated(Result, kw_only=True, tag="estimated", omit_defaults=False):
    """Bytes of a model in memory."""

    weights_bytes: int
    kv_bytes: int
    """KV memory, or recurrent states"""
    compute_bytes: int
    """what a step needs besides"""
    total_bytes: int
    measured_bytes: int | None
    """what it took when it was last loaded with these settings; null before"""


class FileContent(msgspec.Struct, omit_defaults=True):
    """What a file or folder contains."""

    path: str
    """as it was asked for"""
    state: str = "usable"
    """`usable`; `damaged`: incomplete or unreadable; `other`: neither a language model nor an embedding model"""
    reason: str = ""
    """why it is not usable"""
    kind: str = ""
    """what it makes: `text` or `embedding`"""
    backend: str = ""
    """`llama.cpp`, `transformers` or `sentence-transformers`"""
    architecture: str = ""
    """as its file calls it; empty: unknown"""
    quantization: str = ""
    """name of the file type, as Q4_K_M, or of the number type; empty: unknown"""
    context: int = 0
    """tokens that it was trained for; 0: unknown"""
    size_bytes: int = 0
    """all its files together"""
    total_bytes: int = 0
    """estimated memory at the default settings"""
    fits: bool = False
    """its weights fit in the memory that models may use; context and slots are reduced if the rest does not"""


class Described(Result, kw_only=True, tag="described", omit_defaults=False):
    """What files and folders contain."""

    files: list[FileContent]
    """in the order of the request"""
