"""Real servers on loopback, each on a free port with a folder of its own, and stopped afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from veclip_pipelines.mlflow_tracking import make_store

_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres_server(*databases: str) -> Iterator[str]:
    """A Postgres with empty databases: what their URLs, as SQLAlchemy has them, begin with. It will not run as root, so as the user
    that its package makes."""
    binaries = _postgres_binaries()
    as_user = {"user": "postgres"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="veclip-postgres-", dir="/tmp"))
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        data, port = folder / "data", free_port()
        run = {"cwd": folder, "check": True, "capture_output": True, **as_user}
        subprocess.run([binaries / "initdb", "-D", data, "-U", "veclip", "-A", "trust", "--no-sync"], **run)  # type: ignore[call-overload]
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        log = ["-l", folder / "log"]
        subprocess.run([binaries / "pg_ctl", "-D", data, "-o", options, *log, "-w", "start"], **run)  # type: ignore[call-overload]
        try:
            for name in databases:
                command = [binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "veclip", name]
                subprocess.run(command, **run)  # type: ignore[call-overload]
            # Without a driver SQLAlchemy 2.1 takes psycopg 3, and dagster-postgres brings psycopg2.
            yield f"postgresql+psycopg2://veclip:secret@127.0.0.1:{port}"
        finally:
            subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **run)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(folder)


def _postgres_binaries() -> Path:
    """Debian's package keeps them out of PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        if os.environ.get("CI"):
            pytest.fail("Postgres is not installed: .ci/run does")
        pytest.skip("Postgres is not installed")
    return folders[-1]


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A tracking server that keeps the files of its runs, too: its address."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        url.rpartition(":")[2],
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    folder.mkdir()
    make_store(folder / "mlflow.db")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _until_healthy(f"{url}/health", folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _until_healthy(url: str, log: Path) -> None:
    last = time.monotonic() + _SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < last, log.read_text()
            time.sleep(0.2)
        else:
            return
