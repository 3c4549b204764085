"""How many files and connections this process may open: the limit is raised at the start, and nearness to it is noticed.

libzmq ends the process when it cannot accept a connection (ipc_listener.cpp), so a hub must never reach its limit.
"""

import os
import resource

MOST = 65_536
"""Enough for any number of clients; some systems have no limit, and loops over all possible descriptors exist."""
RESERVE = 100
"""Descriptors that are left for engines, databases and models when new requests are refused."""


def raise_limit() -> int:
    """Raises the soft limit to the hard one, at most to MOST. The limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else soft


def are_scarce() -> bool:
    """Whether fewer than RESERVE are left. The system gives the lowest free number: about as many are open (2 us)."""
    try:
        lowest = os.dup(0)
    except OSError:
        return True
    os.close(lowest)
    return lowest > limit() - RESERVE
