"""The commands, a folder for each group; main.py assembles them, and a command's file is imported when it is called."""

import gc
import os
import signal
import sys

gc.disable()  # not worth it for a command of 100 ms; `chat` enables it

if os.path.basename(sys.argv[0]) == "llmctl" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # until main() sets its handlers: no traceback on Ctrl-C during the imports
