"""The entry point of the `llmctl` script and of `python -m llmctl`.

Ctrl-C during the imports would print a traceback: until `main` sets its handlers, it ends the process at once with status 130.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # an ignored signal stays ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from llmctl.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
