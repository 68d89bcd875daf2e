"""The command line: what it says and with which exit code. No run is launched here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import DropEntry, index, numbered_entries, write_drop
from command_line import Done, call, process

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop, register_drop
from veclip_pipelines.tables.warehouse import Warehouse


def wrong_use(*arguments: str, says: str, code: int = 2, run: Callable[..., Done] = call) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def registered(tmp_path: Path, warehouse: Warehouse) -> Path:
    folder = write_drop(
        tmp_path / "crawl-1", [*numbered_entries(3), DropEntry("<b>[red]x[/red]</b>", b"not a picture")]
    )
    drop = inspect_drop(str(folder))
    register_drop(warehouse, drop, "crawl-1", run_id="r", registered_by="me")
    index(warehouse, drop, "crawl-1")
    return folder


def test_help_is_quick_and_lists_the_commands(settings: Settings) -> None:
    done = process("--help")
    assert done.returncode == 0
    for command in ("demo", "crawl", "materialize", "cluster", "serve", "ui", "models", "engines"):
        assert command in done.stdout
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, veclip_pipelines.cli; print({'dagster', 'torch', 'transformers'} & set(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.strip() == "set()"


def test_wrong_folders(settings: Settings, tmp_path: Path) -> None:
    wrong_use("crawl", "add", str(tmp_path / "missing"), says="is not a folder", run=process)
    (tmp_path / "empty").mkdir()
    wrong_use("crawl", "add", str(tmp_path / "empty"), says="is not a crawl drop")
    assert not Path(settings.warehouse).exists()


def test_a_drop_registered_twice(registered: Path, settings: Settings) -> None:
    wrong_use("crawl", "add", str(registered), says="registered already, as crawl partition 'crawl-1'")
    wrong_use("crawl", "add", str(registered), "--partition", "b/c", says="partition key 'b/c' will not do")


def test_unknown_names(registered: Path, settings: Settings) -> None:
    wrong_use("materialize", "--partition", "nope", says="no crawl partition named nope")
    wrong_use("materialize", "--recipe", "nope", says="there is no recipe named 'nope'. Known: alttext, mixed, vecap")
    wrong_use("materialize", "--concept-engine", "nope", says="there is no profile named 'nope'")
    wrong_use("materialize", "--concept-engine", "smollm2-fusion", says="makes fusion captions, not concept captions")
    wrong_use("materialize", says="model 'efficientnet-lite0' of engine profile 'tagger' is not installed", code=1)
    wrong_use("frobnicate", says="No such command")


def test_nothing_registered(settings: Settings) -> None:
    wrong_use("materialize", says="veclip crawl add DIR")


def test_a_warehouse_that_cannot_be_written(registered: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = call("materialize", VECLIP_WAREHOUSE=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_commands_speak_json(registered: Path, settings: Settings) -> None:
    drops = json.loads(call("crawl", "list", "--json").stdout)
    assert [(drop["crawl_partition"], drop["entries"]) for drop in drops] == [("crawl-1", 4)]
    rejects = json.loads(call("crawl", "rejects", "--json").stdout)
    assert [(row["stage"], row["reason"], row["rows"]) for row in rejects] == [("raw_crawl", "not_a_picture", 1)]
    profiles = json.loads(call("engines", "--json").stdout)
    assert "tagger" in [profile["name"] for profile in profiles]
    status = call("cluster", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, {"running": False})


def test_output_that_is_no_terminal_is_plain(registered: Path, settings: Settings) -> None:
    for arguments in (("crawl", "list"), ("crawl", "rejects"), ("engines",)):
        done = call(*arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert not set("│┃━╭") & set(done.stdout)
    assert "not_a_picture" in call("crawl", "rejects").stdout


def test_env_gives_other_tools_the_same_places(settings: Settings) -> None:
    lines = process("env").stdout.splitlines()
    assert f"export VECLIP_HOME={settings.home}" in lines
    assert any(line.startswith("export DAGSTER_HOME=") for line in lines)


def test_a_taken_port_is_wrong_use(settings: Settings) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wrong_use("ui", "--port", str(taken.getsockname()[1]), says="which is taken")
