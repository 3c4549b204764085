"""Messages about models: add, pull, estimate, describe, load, pin, unload, and the engines that run them."""

from typing import Any, ClassVar

import msgspec

from llmctl.wire.message import Plain, Result


class Ps(Plain, kw_only=True, tag="ps"):
    """Lists the engine processes. -> `engines`"""


class AddModel(Plain, kw_only=True, tag="add_model"):
    """Checks the target and writes the model's file. -> `model`"""

    name: str
    """name of the model"""
    target: str
    """absolute path of a GGUF file, a transformers folder or a sentence-transformers folder; address of an OpenAI-compatible
    endpoint; or `echo`"""
    aliases: list[str] = []
    """further names"""
    settings: dict[str, str] = {}
    """settings as in `--set key=value`, checked like `models.NAME.key` in the configuration"""
    kind: str | None = None
    """`text` or `embedding`: what the model of an endpoint produces; null for other targets"""
    force: bool = False
    """replace a model of this name"""
    origin: str = ""
    """`ollama:NAME` if the target is a file of that program, which may replace or remove it; else empty"""


class PullModel(Plain, kw_only=True, tag="pull_model"):
    """Downloads a model from the Hugging Face hub and adds it. -> `model`

    An interrupted download resumes where it stopped; a cancelled one keeps the partial files. The token is used for this request
    only and is not stored.
    """

    is_work: ClassVar[bool] = True

    repo: str
    """OWNER/NAME of the repository"""
    file: str | None = None
    """a GGUF file or a quantisation of the repository; null: the largest of Q4_K_M, Q4_0 and Q8_0 that fits, or the folder"""
    name: str | None = None
    """name of the model; null: from its file or repository"""
    aliases: list[str] = []
    """further names"""
    settings: dict[str, str] = {}
    """as in `add_model`"""
    force: bool = False
    """replace a model of this name"""
    endpoint: str | None = None
    """address to use instead of https://huggingface.co"""
    token: str | None = None
    """access token; null: the one stored by `hf auth login`, if any"""

    def __repr__(self) -> str:
        return f"PullModel(repo={self.repo!r}, file={self.file!r}, name={self.name!r})"  # keeps the token out of logs

    @property
    def subject(self) -> str | None:
        return self.name or self.repo


class EstimateModel(Plain, kw_only=True, tag="estimate_model"):
    """Estimates how much memory a model needs, without loading it. -> `estimated`"""

    target: str
    """name or alias of a model, or the absolute path of a file or folder"""
    settings: dict[str, str] = {}
    """settings that override those of the model"""


class DescribeFiles(Plain, kw_only=True, tag="describe_files"):
    """Says what files and folders contain, from their headers, and whether they fit in memory. -> `files_described`"""

    paths: list[str]
    """absolute paths of GGUF files (the first part of several) and of folders"""


class RemoveModel(Plain, kw_only=True, tag="remove_model"):
    """Unloads and removes a model, and deletes the files that a pull downloaded for it only. -> `nothing`"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""


class LoadModel(Plain, kw_only=True, tag="load_model"):
    """Loads a model. -> `engines`, with the lines of this model"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""
    replicas: int | None = None
    """number of processes until it is unloaded; null: at least one"""


class SetModel(Plain, kw_only=True, tag="set_model"):
    """Changes settings and aliases of an added model. -> `model`; a notice says if it is loaded with other settings, or if
    the configuration takes precedence"""

    name: str
    """name or alias"""
    settings: dict[str, str] = {}
    """as of `add_model`; the model's other settings stay"""
    unset: list[str] = []
    """keys of settings to remove"""
    aliases: list[str] = []
    """names to add"""
    dropped: list[str] = []
    """aliases to remove"""


class PinModel(Plain, kw_only=True, tag="pin_model"):
    """Loads a model and keeps it loaded, also after a restart of the hub; or unpins it. -> `engines`, with the lines of this
    model"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""
    pinned: bool = True
    """false: unpin"""


class UnloadModel(Plain, kw_only=True, tag="unload_model"):
    """Stops the engines of a model after their running requests. -> `nothing`; `model_unavailable` if the model is not loaded"""

    ends_background: ClassVar[bool] = True

    name: str
    """name or alias"""


class EngineStatus(msgspec.Struct):
    """A line of `ps --json`: one engine process."""

    name: str
    """name of the model"""
    backend: str
    """`llama.cpp`, `transformers`, `sentence-transformers` or `echo`"""
    pid: int
    """process id of the engine"""
    state: str
    """`loading`, `ready` or `busy`; `down`: an endpoint that failed several times in a row"""
    replica: int
    """number of the process, from 0"""
    memory_bytes: int
    """weights, KV memory and compute buffers"""
    context: int
    """maximum number of tokens of one request"""
    slots: int
    """maximum number of simultaneous requests"""
    busy: int
    """slots in use"""
    tokens_per_second: float | None = None
    """generated by all requests together in the last seconds"""
    until: str | None = None
    """when it is unloaded if no request comes; null: it is in use or stays loaded"""
    gpu_bytes: int = 0
    """memory on GPUs, measured by the engine"""
    gpu_layers: int = 0
    """layers on GPUs"""
    layers: int = 0
    """all layers, including the output layer; 0: the model is not split by layers"""
    devices: list[str] = []
    """devices that the model is on, as the engine's library names them, GPUs first"""
    gpu_share: float | None = None
    """share of the model's memory that is on GPUs (0 to 1); null: unknown"""
    rung: str | None = None
    """features of llama.cpp that are in use: "as it is" unless some of them crash; null while loading, and for other backends"""


class Engines(Result, kw_only=True, tag="engines", omit_defaults=False):
    """All engine processes, or those of one model."""

    engines: list[EngineStatus]
    """one line per process"""


class Model(Result, kw_only=True, tag="model", omit_defaults=False):
    """A model as it was added."""

    name: str
    target: str
    """path, address or `echo`"""
    backend: str
    """`llama.cpp`, `transformers`, `sentence-transformers`, `remote` or `echo`"""
    kind: str = "text"
    """what it produces: `text` or `embedding`"""
    aliases: list[str]
    settings: dict[str, Any]
    """settings as given"""


class Estimated(Result, kw_only=True, tag="estimated", omit_defaults=False):
    """Memory of a model, in bytes."""

    weights_bytes: int
    kv_bytes: int
    """KV memory, or recurrent states"""
    compute_bytes: int
    """memory for the computation of a step"""
    total_bytes: int
    measured_bytes: int | None
    """memory at the last load with these settings; null if it was never loaded"""


class FileContent(msgspec.Struct, omit_defaults=True):
    """What a file or folder contains."""

    path: str
    """as in the request"""
    state: str = "usable"
    """`usable`; `damaged`: incomplete or unreadable; `unsupported`: a model that no engine here runs; `other`: neither a
    language model nor an embedding model"""
    reason: str = ""
    """why it is not usable"""
    kind: str = ""
    """what it produces: `text` or `embedding`"""
    backend: str = ""
    """`llama.cpp`, `transformers` or `sentence-transformers`"""
    architecture: str = ""
    """as in the file; empty: unknown"""
    quantization: str = ""
    """file type such as Q4_K_M, or number type; empty: unknown"""
    context: int = 0
    """context in tokens that the model was trained with; 0: unknown"""
    size_bytes: int = 0
    """size of all its files"""
    total_bytes: int = 0
    """estimated memory at the default settings"""
    fits: bool = False
    """whether its weights fit in the memory for models; if the rest does not fit, context and slots are reduced"""


class FilesDescribed(Result, kw_only=True, tag="files_described", omit_defaults=False):
    """What files and folders contain."""

    files: list[FileContent]
    """in the order of the request"""
