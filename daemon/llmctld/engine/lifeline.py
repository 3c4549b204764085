"""Ends this process together with the hub. Imported before anything heavy."""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = "600"
"""Above the hub's 0: out of memory, the kernel kills an engine before the hub."""


def die_with_hub() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux). Elsewhere the end of the socket does."""
    hub = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE_ADJ)
    if os.getppid() != hub:
        os._exit(0)  # the hub died before prctl took effect
