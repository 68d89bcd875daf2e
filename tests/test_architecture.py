"""The architecture: what may import what, and what things are called. The contracts themselves are in pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
ROOTS = ("veclip_pipelines", "assets", "resources")
KEPT_FROM_THE_GRAPH = "How a step is done knows neither the graph nor its resources"
LAYERS = "Rooms are layers: imports run from the entry points down to the errors"
#: Names that say nothing of what a module holds: once they stood for several each.
VAGUE = ("report", "progress", "audit", "places", "fingerprints")
#: Names that mean the same in each package that has them: what its members have in common, their list, and a format.
SHARED = {"base", "registry", "webdataset"}


def source_files() -> list[Path]:
    """All Python files of the product, relative to the repository."""
    return sorted(path.relative_to(ROOT) for root in ROOTS for path in (ROOT / root).rglob("*.py"))


def first_circle(imports: dict[str, set[str]]) -> list[str] | None:
    """A circle among modules, from each to one that it imports; None where there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph(*ROOTS, cache_dir=None)  # late imports and those for types alone are in it
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    late = "veclip_pipelines.commands.materialize", "assets.orchestration.launching"
    assert late[1] in imports[late[0]], "late imports are looked at"
    assert first_circle(imports) is None
    assert first_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None


def test_every_room_stands_in_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["name"] == LAYERS)["layers"]
    named = {name.strip(" ()") for layer in layers for name in layer.split("|")}
    rooms = {f"veclip_pipelines.{path.stem}" for path in (ROOT / "veclip_pipelines").glob("*.py")}
    rooms |= {f"veclip_pipelines.{path.parent.name}" for path in (ROOT / "veclip_pipelines").glob("*/__init__.py")}
    assert rooms - {"veclip_pipelines.__init__"} - named == set()
    assert {"assets", "resources"} <= named
    # And each that is no entry point is kept from the graph.
    kept = next(contract for contract in contracts if contract["name"] == KEPT_FROM_THE_GRAPH)["source_modules"]
    entries = {"veclip_pipelines.cli", "veclip_pipelines.commands", "veclip_pipelines.definitions"}
    assert rooms - {"veclip_pipelines.__init__"} - entries == set(kept)


def test_every_folder_of_modules_is_a_package() -> None:
    """import-linter does not see into others."""
    assert {path.parent for path in source_files() if not (ROOT / path.parent / "__init__.py").is_file()} == set()


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter over the packages in a folder, by the pyproject.toml that is in it."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_an_import_that_runs_up_breaks_a_contract(tmp_path: Path) -> None:
    for root in ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout

    planted = tmp_path / "veclip_pipelines" / "crawl" / "rows.py"
    line = "from veclip_pipelines.takedown.register import active_requests"
    planted.write_text(f"{planted.read_text('utf-8')}\n{line}\n", "utf-8")
    broken = lint_imports(tmp_path)
    assert broken.returncode != 0
    assert f"{LAYERS} BROKEN" in broken.stdout
    assert "veclip_pipelines.crawl is not allowed to import veclip_pipelines.takedown" in " ".join(
        broken.stdout.split()
    )


def sentences(text: str) -> int:
    return len(re.findall(r"[^\s.][.!?](?=\s|$)", text))


@pytest.mark.parametrize(
    "init",
    [path for path in source_files() if path.name == "__init__.py" and path.parts[0] == "veclip_pipelines"],
    ids=str,
)
def test_each_package_says_what_belongs_in_it(init: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / init).read_text("utf-8"))) or ""
    assert sentences(docstring) >= 2, f"{init}: two or three sentences: what is in here, and what is not?"


def test_a_module_has_a_name_of_its_own() -> None:
    """A command's module is called as the command is, and an asset's as the asset."""
    modules = [path for path in source_files() if path.name != "__init__.py" and path.parts[1] != "commands"]
    names = Counter(path.stem for path in modules)
    assert [name for name in VAGUE if names[name] > 1] == []
    rooms = Counter(path.stem for path in modules if path.parts[0] == "veclip_pipelines")
    assert {name for name, count in rooms.items() if count > 1} <= SHARED


def test_no_two_classes_are_called_work_or_finding() -> None:
    classes = Counter(
        node.name
        for path in source_files()
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name in ("Work", "Finding") if classes[name] > 1] == []
