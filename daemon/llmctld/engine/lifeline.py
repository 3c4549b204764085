"""Ends this process with the hub that started it. Imported before anything heavy: it knows the kernel alone."""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = "600"
"""Above the hub's 0: when memory runs out the kernel takes a model, and not the books."""


def die_with_hub() -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux; elsewhere end of file must do)."""
    hub = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(OOM_SCORE_ADJ)
    if os.getppid() != hub:
        os._exit(0)  # it died before the request to die with it was in force
