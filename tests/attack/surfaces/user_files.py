"""Files that people write, with mistakes of all kinds: every one is read or refused with words and a hint, and none is a bug.

`config.toml`, templates, lines of `cache warm` and `cache replay`, schemas, grammars, and the files of models.
"""

from functools import partial

from tests.attack.attack import Attack, Trial
from tests.mutants.play import fed, sampled, shared
from tests.mutants.user_files import KINDS


def feed(kind: str, trial: Trial) -> None:
    """All mutants in a process of their own, with a limit of memory; a sample of them through the installed command."""
    home = shared()
    try:
        fed(home, "user_files", kind, trial)
        sampled(home, kind, trial)
    finally:
        (home.place / KINDS[kind].file).unlink(missing_ok=True)


ATTACKS = [Attack(f"{kind} mutants", 2000, partial(feed, kind)) for kind in KINDS]
