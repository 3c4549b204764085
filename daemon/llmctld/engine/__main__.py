"""Entry point of an engine process: ties its life to the hub before anything heavy is imported, then calls `serve`."""

import os
import resource
import signal
import socket
import sys

from llmctld.engine.lifeline import die_with_hub


def main() -> int:
    die_with_hub()
    # no core dumps: one of a whole model fills the disk and takes longer than a reload; raise the limit to debug
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # Ctrl-C in the hub's terminal is for the hub
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # number GPUs as nvidia-smi does
    from llmctld.engine.serve import serve  # after the lines above: the hub may die during these imports

    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    os._exit(main())  # skip the teardown of native libraries
