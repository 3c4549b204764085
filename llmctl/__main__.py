"""Where the `llmctl` script and `python -m llmctl` begin.

Importing the commands takes longer than a hand needs for Ctrl-C, and an interruption in the middle of it would print a
trace: until `main` sets its own handlers, it ends the process at once and without a word, with status 130.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # one that is ignored stays ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from llmctl.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
