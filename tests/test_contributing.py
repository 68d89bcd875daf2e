"""CONTRIBUTING.md's five additions are made in a copy of the sources and used; everything that it and the other pages name exists."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
EXAMPLES = ROOT / "docs" / "examples"
PRODUCT = ("veclip_pipelines", "assets", "resources")
#: Pages that say how things are now. Decisions and the change log say how they were.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_PATH = re.compile(
    r"(?<![\w/.:$-])((?:veclip_pipelines|assets|resources|tests|docs|bench)/[\w./-]*\w|[\w.-]+/[\w./-]*\.py)(?![\w*-])"
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


def additions() -> Iterator[tuple[str, str]]:
    """The path of each file that the guide changes, with the change: lines that begin as in a diff."""
    yield from re.findall(r"`([\w/.]+\.py)`:\n\n```diff\n(.*?)```", GUIDE, re.DOTALL)


def changed(text: str, diff: str) -> str:
    """A file's text with a diff applied; its parts are divided by lines of @@, and each must fit one place."""
    for part in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"stands there {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def contributed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and the tests' helpers with all five additions."""
    copy = tmp_path_factory.mktemp("contributed")
    for name in (*PRODUCT, "tests", "dagster_home"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(EXAMPLES, copy, dirs_exist_ok=True)
    for path, diff in additions():
        (copy / path).write_text(changed((copy / path).read_text("utf-8"), diff), "utf-8")
    return copy


def run_in(copy: Path, *command: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")])}
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_five_additions_work(contributed: Path) -> None:
    run_in(contributed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contributed.py")


@pytest.mark.slow
def test_the_five_additions_keep_to_the_house(contributed: Path) -> None:
    run_in(contributed, "-m", "ruff", "check", "--no-cache", *PRODUCT)
    run_in(contributed, "-m", "ruff", "format", "--no-cache", "--check", *PRODUCT)
    run_in(contributed, "-c", "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])")


def test_no_addition_needs_more_files_than_the_guide_says() -> None:
    sections = re.findall(r"^### A.*? \((\d) files?\)\n(.*?)(?=^##)", GUIDE, re.DOTALL | re.MULTILINE)
    counts = []
    for said, section in sections:
        touched = set(re.findall(r"`([\w/.]+)`(?::\n\n```diff|, new)", section))
        assert len(touched) == int(said)
        counts.append(int(said))
    assert len(counts) == 5
    assert max(counts) <= 3
    assert {path for _, section in sections for path in re.findall(r"`([\w/.]+)`, new", section)} == {
        path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    known = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*")}
    named = {path for path in _PATH.findall(text) if path not in known and not is_there(path)}
    assert named == set(), f"{page.name} names paths that do not exist"
    links = {link for link in _LINK.findall(text) if not (page.parent / link).exists()}
    assert links == set(), f"{page.name} links to what does not exist"


def is_there(path: str) -> bool:
    """Whether a path exists, also one that begins at a room; docs/decisions/007 names a decision by its number."""
    return any((root / path).exists() for root in (ROOT, ROOT / "veclip_pipelines")) or any(ROOT.glob(f"{path}-*.md"))


def test_the_names_in_the_guide_are_names_of_ours() -> None:
    """Words in backticks that look like Python: defined somewhere in the sources, or a field, a module, a resource."""
    defined = set()
    for root in PRODUCT:
        for file in (ROOT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    defined.add(node.name)
                elif isinstance(node, ast.Name):
                    defined.add(node.id)
    quoted = re.findall(r"`([A-Za-z_]\w*(?:\.\w+)*)`", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL))
    outside = {"skip", "by_guard", "listed"}  # keys of YAML, and a value of Kind
    names = {name for name in quoted if name.isidentifier() and not name.startswith("VECLIP_") and name not in PRODUCT}
    assert names - defined - outside == {"docs"}
    for name in (name for name in quoted if name.startswith("veclip_pipelines.")):
        module, _, attribute = name.rpartition(".")
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
        assert attribute in defined
