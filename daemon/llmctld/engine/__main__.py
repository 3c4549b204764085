"""The first lines of an engine process: bound to its hub before anything heavy is imported, then over to `serve`.

It knows the kernel's ways to end a process; what the engine does with its life stands in serve.py.
"""

import os
import resource
import signal
import socket
import sys

from llmctld.engine.lifeline import die_with_hub


def main() -> int:
    die_with_hub()
    # a core of all that a model holds fills a disk and takes longer than the next load; who debugs one raises it again
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # Ctrl-C in the hub's terminal is the hub's to answer
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # cuda:1 is what nvidia-smi calls 1
    from llmctld.engine.serve import serve  # after the lines above: these imports take long enough to be orphaned in

    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    os._exit(main())  # taking native libraries apart takes time, and has nothing left to bring
