"""Word tables: files of the package that are read only when questions are first compared."""

import subprocess
import sys

import pytest
from llmctld.semantic.words.tables import FOLDER, by_name, rows, section, sections

FILES = sorted(path.stem for path in FOLDER.glob("*.txt"))

STARTED = """
import sys
import llmctld.app
from llmctld.semantic.words.tables import sections
print(sections.cache_info().currsize, [name for name in sys.modules if name.startswith("llmctld.semantic.guards.")])
from llmctld.semantic.guards.refusal import refusal
assert refusal("How do I enable it?", "How do I disable it?") == "negation"
print(sections.cache_info().currsize > 0)
"""


def test_the_hub_reads_no_word_table_at_start() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout == "0 []\nTrue\n"


@pytest.mark.parametrize("file", FILES)
def test_a_table_file_has_no_lines_outside_its_sections(file: str) -> None:
    found = sections(file)
    assert found
    assert "" not in found
    assert all(found.values())


def test_all_names_in_a_row_map_to_the_same_thing() -> None:
    table = rows(section("names", "places"))
    assert table["united kingdom"] == table["british"] == "uk"
    assert by_name("a: b c\nd: e") == {"a": "b c", "d": "e"}
