"""Settings as strict structs, how they are read, and the files of added models.

Import the package, not its files: `from llmctl.config import Config`.
"""

from llmctl.config.models import NAME, ModelEntry, check_name, read_models
from llmctl.config.reading import decode, exposed, from_environment, load, read_file
from llmctl.config.settings import (
    BUILTIN,
    CONTEXT_CAP,
    HOST_SHARE,
    LABELS,
    NO_JUDGE,
    PRICES,
    SEARCH,
    Cache,
    Config,
    Defaults,
    HistorySettings,
    Limits,
    Logs,
    ModelSettings,
    Prefetch,
    Resources,
    Section,
    Semantic,
    keys,
    sections,
)
from llmctl.config.units import LONGEST_S, Duration, KeepAlive, Size, parse_duration, parse_keep_alive, parse_size

__all__ = [
    "BUILTIN",
    "CONTEXT_CAP",
    "HOST_SHARE",
    "LABELS",
    "LONGEST_S",
    "NAME",
    "NO_JUDGE",
    "PRICES",
    "SEARCH",
    "Cache",
    "Config",
    "Defaults",
    "Duration",
    "HistorySettings",
    "KeepAlive",
    "Limits",
    "Logs",
    "ModelEntry",
    "ModelSettings",
    "Prefetch",
    "Resources",
    "Section",
    "Semantic",
    "Size",
    "check_name",
    "decode",
    "exposed",
    "from_environment",
    "keys",
    "load",
    "parse_duration",
    "parse_keep_alive",
    "parse_size",
    "read_file",
    "read_models",
    "sections",
]
