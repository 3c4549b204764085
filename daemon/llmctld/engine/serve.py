"""Connects the socket to the loop: the first frame says what to load, later ones are commands for the model.

It selects the backend. The end of the stream ends the process.
"""

import hashlib
import os
import select
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import msgspec

from llmctl.pointers import pointer_at
from llmctld.engine import crash
from llmctld.engine.core.backend import TextModel
from llmctld.engine.core.loop import Inbox, Loop
from llmctld.engine.cost.price import FixedStepTime, parse_step_time
from llmctld.engine.embed.loop import Embedder, EmbedLoop
from llmctld.engine.errors import LoadError
from llmctld.engine.llama.internals import rungs
from llmctld.engine.messages import LENGTH, Load, LoadFailed, Report, decode_command, frame
from llmctld.engine.streams.saved import SavedStates

WHOLE = 2**30
"""Tokens per step: no limit."""
READ_BYTES = 2**18
"""Bytes read from the socket at once."""


def serve(hub: socket.socket) -> int:
    """Load a model and step it until the process ends. Returns (an exit status) only if loading failed."""
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=_read, args=(hub, inbox), name="reader", daemon=True).start()
    _, load = inbox.get()
    if not isinstance(load, Load):
        raise RuntimeError(f"the first frame is {type(load).__name__}, not Load")
    load = rungs.with_rung(load)
    try:
        crash.crash_at("load", load.rung, load.name)
        if load.backend == "llama.cpp":
            from llmctld.engine.llama.internals import abort

            abort.listen()
        if load.kind == "embedding":
            _embed(load, inbox, hub)
        else:
            _generate(load, inbox, hub)
    except LoadError as error:
        _send(hub, LoadFailed(error.message, error.hint, type(error).__name__ == "Unproven"))
        return 1
    return 0


def _embed(load: Load, inbox: Inbox, hub: socket.socket) -> None:
    embedder = _embedder(load)
    crash.arm(embedder, "embed", "embed", load.rung, load.name)
    _send(hub, embedder.loaded)
    EmbedLoop(embedder, inbox, lambda report: _send(hub, report)).run()


def _generate(load: Load, inbox: Inbox, hub: socket.socket) -> None:
    price = _price()
    model = _model(load)
    saved = _saved(load, model) if model.reuses else SavedStates(None, 0, 0)
    crash.arm(model, "decode", "close", load.rung, load.name)
    loaded = msgspec.structs.replace(model.loaded, notices=[*model.loaded.notices, *map(_damage, saved.damaged)])
    _send(hub, loaded)
    # transformers' manager splits prompts itself: pass each in whole
    batch = WHOLE if load.backend == "transformers" else load.batch
    Loop(
        model, batch, inbox, lambda report: _send(hub, report), saved, price=price, when_idle=_idle_work(load, model)
    ).run()


def _idle_work(load: Load, model: TextModel) -> Callable[[], bool]:
    """What an engine does in its pauses: move the weights to large pages, unless a device may hold their addresses."""
    if load.backend != "llama.cpp" or model.loaded.gpu_layers:
        return lambda: False
    from llmctld.engine.llama.internals.large_pages import LargePages

    return LargePages(Path(load.path)).move


def _price() -> FixedStepTime | None:
    try:
        return parse_step_time(os.environ)
    except ValueError as error:
        raise LoadError(str(error), "Unset it; it is for tests only.") from error


def _saved(load: Load, model: TextModel) -> SavedStates:
    """Saved states that fit this load: same file, library, rung and settings."""
    if not load.saved_folder:
        return SavedStates(None, load.saved_memory_bytes, 0, model.window)
    import llama_cpp

    shape = f"{model.loaded.context} {load.kv_type} {load.gpu_layers} {model.window.tokens} {load.rung}"
    settings = f"{load.identity} {shape} {llama_cpp.__version__}"
    folder = Path(load.saved_folder) / hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()
    for other in Path(load.saved_folder).glob("*"):
        if other != folder:  # of an earlier file, library or context: never usable again
            shutil.rmtree(other, ignore_errors=True)
    return SavedStates(folder, load.saved_memory_bytes, load.saved_disk_bytes, model.window)


def _damage(words: str) -> str:
    return f"a saved prefix is damaged and was removed; its prompt is computed again ({words})"


def _check_pointers(load: Load) -> None:
    """Raises LoadError if a file has become a git-lfs pointer since the model was added."""
    for path in filter(None, (load.path, load.draft)):
        found = pointer_at(Path(path))
        if found is not None:
            raise LoadError(f"{load.name}: {found[0]}", found[1])


def _model(load: Load) -> TextModel:
    """Import the backend on first use: the native library takes 200 ms, and echo does not need it."""
    if load.backend == "echo":
        from llmctld.engine.echo import Echo

        return Echo(load)
    _check_pointers(load)
    if load.backend == "llama.cpp":
        from llmctld.engine import prove
        from llmctld.engine.llama.model import Gguf

        model = Gguf(load)
        crash.crash_at("proof", load.rung, load.name)
        most = min(load.batch, model.loaded.context - 1)
        prove.text(load.name, model, most)
        if model.second is not None:
            prove.draft(model.second, most)
        return model
    if load.backend == "transformers":
        from llmctld.engine.hf.files import check

        check(load)  # checked before torch is imported, which takes seconds
        from llmctld.engine.hf.model import Hf

        return Hf(load)
    there = "Available: llama.cpp, transformers and echo."
    raise LoadError(f"{load.name}: there is no backend {load.backend!r} for text", there)


def _embedder(load: Load) -> Embedder:
    """Imported on first use: torch takes seconds."""
    _check_pointers(load)
    if load.backend == "sentence-transformers":
        from llmctld.engine.embed.torch import TorchEmbedder

        return TorchEmbedder(load)
    if load.backend == "llama.cpp":
        from llmctld.engine import prove
        from llmctld.engine.embed.gguf import GgufEmbedder

        embedder = GgufEmbedder(load)
        crash.crash_at("proof", load.rung, load.name)
        prove.embedding(load.name, embedder, embedder.loaded.context)
        return embedder
    there = "Available: llama.cpp and sentence-transformers."
    raise LoadError(f"{load.name}: there is no backend {load.backend!r} for embeddings", there)


def _send(hub: socket.socket, report: Report) -> None:
    try:
        hub.sendall(frame(report))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _read(hub: socket.socket, inbox: Inbox) -> None:
    """The reader thread. At end of file the process ends at once, even during a native call."""
    status = 1
    try:
        for body in _frames(hub):
            inbox.put((time.monotonic(), decode_command(body)))
        status = 0
    except ConnectionResetError:
        status = 0
    except Exception:  # noqa: BLE001 - a thread that ends without a word would leave an engine that hears nothing
        traceback.print_exc()
    finally:
        os._exit(status)


def _frames(hub: socket.socket) -> Iterator[bytes]:
    """The body of each frame, until the end of the stream.

    Waits in poll, not in recv: Linux wakes a thread that waits in recv whenever the other side has read something, so once per
    token, and the wake-up takes a processor from the threads that compute the next one.
    """
    readable = select.poll()
    readable.register(hub, select.POLLIN)
    buffer = bytearray()
    while True:
        while len(buffer) >= LENGTH.size and len(buffer) >= (end := LENGTH.size + LENGTH.unpack_from(buffer)[0]):
            yield bytes(buffer[LENGTH.size : end])
            del buffer[:end]
        readable.poll()
        data = hub.recv(READ_BYTES)
        if not data:
            return
        buffer += data
