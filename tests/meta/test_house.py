"""The checkout itself: layout, imports of the client, and no paths of the author's machine."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.e2e.house import LLMCTL

ROOT = Path(__file__).resolve().parents[2]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PRODUCT = sorted([*(ROOT / "llmctl").rglob("*.py"), *(ROOT / "daemon").rglob("*.py")])


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


GATEWAY_IMPORTS = {"wire", "errors", "config", "paths", "presence", "dealer"}
"""Modules of llmctl that the gateway may import: what passes between a client and the hub, and how to reach the hub."""


def test_the_gateway_imports_only_what_every_client_shares() -> None:
    found = set[str]()
    for path in (ROOT / "daemon" / "llmctl_gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "llmctl":
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmctl."):
                found.add((node.module or "").split(".")[1])
            elif isinstance(node, ast.Import):
                found |= {name.name for name in node.names if name.name.split(".")[0] in ("llmctl", "llmctld")}
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("llmctld"), "nothing of the hub"
    assert found <= GATEWAY_IMPORTS
    assert found, "the gateway has a link"


WRITTEN = {
    "config.toml", "hub.json", "learned.json", "measured.json", "hashes.json", "rungs.json", "bandwidth.json", "budgets.json",
    "NAME.json",
    "current.json",
}  # fmt: skip
"""Files of a home, which pages name too."""


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in ("architecture", "development"))])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    """A name with a folder must be the end of a path; a bare name, some file's."""
    paths = {f"/{path.relative_to(ROOT)}" for path in tracked()}
    named = set(re.findall(r"`([\w./-]+\.(?:py|md|toml|json|txt|yaml))`", (ROOT / page).read_text(encoding="utf-8")))
    missing = {name for name in named if not any(path.endswith(f"/{name}") for path in paths)}
    assert {Path(name).name for name in missing} <= WRITTEN


WRITTEN_BY_USERS = {
    "config.toml",
    "hub.json",
    "learned.json",
    "measured.json",
    "hashes.json",
    "rungs.json",
    "bandwidth.json",
}


def test_the_daemon_folder_is_not_a_package() -> None:
    assert not (ROOT / "daemon" / "__init__.py").exists(), "`daemon` is python-daemon's name"


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_self_references_in_messages_quote_the_whole_type(path: Path) -> None:
    """Python 3.10 does not look into `list["Stored"]`, and msgspec then does not know the type; `"list[Stored]"` is looked at."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    structs = [found for found in classes if any("Struct" in ast.unparse(base) for base in found.bases)]
    for line in (node for found in structs for node in found.body if isinstance(node, ast.AnnAssign)):
        quoted = [
            node for node in ast.walk(line.annotation) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not quoted or isinstance(line.annotation, ast.Constant) or "Literal" in ast.unparse(line.annotation), (
            line.lineno
        )


def test_the_project_contains_no_path_of_the_author_s_machine() -> None:
    here = {str(ROOT), str(Path.home())} - {"/"}
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not {place for place in here if f"{place}/" in text}, str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree), "a module begins with what it knows and what it does not"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_wait_for_events_and_never_sleep_long(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}:
            (argument,) = node.args
            short = isinstance(argument, ast.Constant) and float(argument.value) < 0.2  # type: ignore[arg-type]
            assert short, f"line {node.lineno}"


@pytest.mark.parametrize(
    "module",
    ["llmctl", "llmctl.wire", "llmctl.config", "llmctl.paths", "llmctl.client", "llmctl.launch", "llmctl.cli.main"],
)
def test_the_client_imports_no_slow_modules(module: str) -> None:
    slow = ["asyncio", "numpy", "torch", "llama_cpp", "llmctld", "pydantic", "structlog", "httpx", "httpx2", "rich", "yaml",
            "sqlite3", "jinja2", "psutil", "email", "http"]  # fmt: skip
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({slow})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_hub_imports_no_native_model_library() -> None:
    code = (
        "import sys, llmctld.app, llmctld.vectors.index; "
        "slow = {'torch', 'llama_cpp', 'numpy', 'faiss', 'sklearn', 'gguf', 'httpx2', 'keyring', 'anyio', 'redis'}; "
        "print(*sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_installed_versions_equal_the_pinned_ones() -> None:
    """The tests run with the constraints, which pin every dependency of the project."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {found.name: found for found in (Requirement(line) for line in lines if line and not line.startswith("#"))}
    assert "llmctl" not in pins
    assert list(pins) == sorted(pins)
    named = [Requirement(text) for text in metadata.requires("llmctl") or []]
    for requirement in named:
        assert re.sub(r"[-_.]+", "-", requirement.name).lower() in pins, requirement
    for name, pin in pins.items():
        if pin.marker is None or pin.marker.evaluate():
            try:
                installed = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
            assert pin.specifier.contains(installed, prereleases=True), (name, installed)


def test_ci_runs_make_test_and_nothing_weaker() -> None:
    assert re.search(r"^make test-pythons ", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.M)
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.M)
    dry = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports", "tests.meta.generate --check", "pytest"):
        assert tool in dry, tool


def test_the_console_script_is_beside_the_interpreter() -> None:
    assert LLMCTL.exists()
