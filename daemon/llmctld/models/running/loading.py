"""Builds the load order of an engine: the model's entry, its settings with all defaults, and the limits.

Decides neither when to load nor whether there is memory.
"""

from pathlib import Path

from llmctl.config import Config, ModelEntry
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.chat_template import read_template
from llmctld.models.engines.ticket import Load
from llmctld.models.machine.processors import cores


def load_of(entry: ModelEntry, catalog: Catalog, config: Config, prefixes: Path, memory_bytes: int) -> Load:
    """`prefixes`: folder for computed prefixes. Raises ModelUnavailable if the model's file is missing."""
    settings, cache, slots = catalog.settings(entry), config.cache, catalog.slots(entry)
    saves = not catalog.is_guide(entry)  # its prompts are short: computing them again is cheaper than reading them
    return Load(
        name=entry.name,
        backend=entry.backend,
        kind=entry.kind,
        path=entry.target,
        context=settings.context,
        slots=slots,
        retained=slots if settings.retained is None else settings.retained,
        threads=settings.threads or cores(),
        fewer_threads=settings.threads is None,
        gpu_layers=-1 if settings.gpu_layers is None else settings.gpu_layers,
        device=settings.device or "auto",
        tensor_split=settings.tensor_split or [],
        kv_type=settings.kv_type or "f16",
        flash_attention=settings.flash_attention,
        batch=settings.batch or 512,
        speculation=settings.speculation or "ngram",
        pooling=settings.pooling,
        normalize=settings.normalize,
        prompts=settings.prompts or {},
        draft=settings.draft or "",
        dtype=settings.dtype or "auto",
        quantization=settings.quantization,
        trust=bool(settings.trust),
        template=read_template(settings.template) if settings.template else "",
        template_options=settings.template_options or {},
        memory_bytes=memory_bytes,
        gpu_memory_bytes=config.limits.gpu_memory_bytes,
        identity=catalog.identity(entry),
        saved_folder=str(prefixes) if cache.prefix_disk_bytes and saves else "",
        saved_memory_bytes=int(cache.prefix_memory_bytes) if saves else 0,
        saved_disk_bytes=int(cache.prefix_disk_bytes) if saves else 0,
        load_ms=settings.load_ms or 0.0,
        takes_bytes=int(settings.takes or 0),
        first_ms=settings.first_ms or 0.0,
        token_ms=settings.token_ms or 0.0,
        fail=settings.fail,
    )
