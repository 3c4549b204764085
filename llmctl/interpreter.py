"""How a child of ours is started in this Python: no module of it comes out of the folder that the user happens to stand in.

It knows the interpreter, and no module.
"""

import sys

HAS_SAFE_PATH = sys.version_info >= (3, 11)


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs a module. `python -m` alone would search the current folder before anything else."""
    if HAS_SAFE_PATH:
        return [sys.executable, "-P", "-m", name, *arguments]
    return code(f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)", *arguments)


def code(text: str, *arguments: str) -> list[str]:
    """The command line that runs a line of Python. Without `-P` the current folder is taken out before anything is imported."""
    if HAS_SAFE_PATH:
        return [sys.executable, "-P", "-c", text, *arguments]
    return [sys.executable, "-c", f"import sys; del sys.path[0]; {text}", *arguments]
