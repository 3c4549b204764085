"""The table of all attacks, read from the files in surfaces/: a new file there is a new surface.

A surface file has a list `ATTACKS`; its name is the name of the surface.
"""

from importlib import import_module
from pathlib import Path

from tests.attack.attack import Attack

SURFACES = sorted(path.stem for path in (Path(__file__).parent / "surfaces").glob("[!_]*.py"))


def attacks(rows: str = "") -> list[tuple[str, Attack]]:
    """All attacks as (surface, attack), or those that `rows` names: surfaces or attacks, separated by commas."""
    wanted = [row.strip() for row in rows.split(",") if row.strip()]
    every = [(surface, attack) for surface in SURFACES for attack in of(surface)]
    chosen = [(surface, attack) for surface, attack in every if not wanted or {surface, attack.name} & set(wanted)]
    known = {name for surface, attack in every for name in (surface, attack.name)}
    if unknown := [row for row in wanted if row not in known]:
        raise LookupError(f"no attack is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return chosen


def of(surface: str) -> list[Attack]:
    found: list[Attack] = import_module(f"tests.attack.surfaces.{surface}").ATTACKS
    return found
