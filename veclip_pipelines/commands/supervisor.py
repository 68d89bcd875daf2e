"""Runs the services of ``veclip ui`` together and stops them all, by their process ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psutil

from veclip_pipelines.commands.console import say
from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster, runs, stop_processes, until_up
from veclip_pipelines.config.settings import DEFAULT_DAGSTER_URL, DEFAULT_MLFLOW_URL, Settings, is_tracking_server
from veclip_pipelines.errors import UsageError, VeclipError

_START_SECONDS = 90
_STOP_SECONDS = 20
_MODULE = "veclip_pipelines.definitions"


@dataclass(frozen=True)
class Service:
    """A program to run, and the address at which it answers (None for the daemon, which has none)."""

    name: str
    command: tuple[str, ...]
    url: str | None


class _StopRequestedError(Exception):
    pass


def run_ui(settings: Settings, dagster_port: int, mlflow_port: int) -> None:
    """Starts all services, prints their addresses, and waits for Ctrl-C, a signal, or the end of one of them.

    Raises:
        UsageError: a port is taken. VeclipError: a service did not come up, or ended.
    """
    from assets.orchestration.backfills import forget_daemon
    from assets.orchestration.launching import prepare_dagster_home

    dagster_port, mlflow_port = dagster_port or _free_port(), mlflow_port or _free_port()
    settings = _addressed(settings, dagster_port, mlflow_port)
    prepare_dagster_home(settings)
    services = _services(settings, dagster_port, mlflow_port)
    for service in services:
        _check_port(service)
    had_cluster = running_cluster(settings) is not None
    processes: dict[str, psutil.Process] = {}
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup the services are to outlive the terminal
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, _request_stop) for number in numbers}
    try:
        cluster = cluster_up(settings)
        for service in services:
            processes[service.name] = _start(service, settings)
        for service in services:
            _wait_until_up(service, processes[service.name], settings)
            if service.url:
                say(f"{service.name:<14} {service.url}")
        say(f"{'Dask dashboard':<14} {cluster.dashboard}")
        say("Ctrl-C stops them all")
        _wait_for_end(processes, settings)
    except _StopRequestedError:
        pass
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        say("stopping")
        _stop(list(processes.values()))
        forget_daemon()
        if not had_cluster:
            cluster_down(settings)
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def daemon(settings: Settings, *, running: bool) -> Iterator[None]:
    """Dagster's daemon while a command needs it, unless one runs already, with the Dask cluster for its runs."""
    from assets.orchestration.backfills import forget_daemon

    had_cluster = running_cluster(settings) is not None
    processes: list[psutil.Process] = []
    try:
        if not had_cluster:
            cluster_up(settings)
        if not running:
            processes.append(_start(_daemon_service(), settings))
        yield
    finally:
        if processes:
            _stop(processes)
            forget_daemon()
        if not had_cluster:
            cluster_down(settings)


def _addressed(settings: Settings, dagster_port: int, mlflow_port: int) -> Settings:
    """Addresses with the chosen ports, unless the settings say that the UIs are found elsewhere."""
    if settings.dagster_url == DEFAULT_DAGSTER_URL:
        settings = settings.model_copy(update={"dagster_url": f"http://127.0.0.1:{dagster_port}"})
    if settings.mlflow_url == DEFAULT_MLFLOW_URL:
        settings = settings.model_copy(update={"mlflow_url": f"http://127.0.0.1:{mlflow_port}"})
    return settings


def _daemon_service() -> Service:
    return Service("Dagster daemon", (sys.executable, "-m", "dagster._daemon", "run", "-m", _MODULE), None)


def _services(settings: Settings, dagster_port: int, mlflow_port: int) -> list[Service]:
    python = sys.executable
    serve = urlsplit(settings.serve_url)
    services = [
        Service(
            "Dagster UI",
            (python, "-m", "dagster_webserver", "-m", _MODULE, "-h", "127.0.0.1", "-p", str(dagster_port)),
            f"http://127.0.0.1:{dagster_port}",
        ),
        _daemon_service(),
        Service(
            "veclip serve",
            (python, "-m", "veclip_pipelines.cli", "serve", "--port", str(serve.port)),
            settings.serve_url,
        ),
    ]
    if not is_tracking_server(settings.mlflow_tracking_uri):
        Path(settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
        store = ("--backend-store-uri", settings.mlflow_tracking_uri)
        artifacts = ("--default-artifact-root", settings.mlflow_artifacts)
        server = (python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow_port), "--workers", "1")
        services.append(Service("MLflow UI", (*server, *store, *artifacts), f"http://127.0.0.1:{mlflow_port}"))
    return services


def _request_stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _StopRequestedError


def _start(service: Service, settings: Settings) -> psutil.Process:
    """Starts in a session of its own, with signals reset.

    A program started by nohup or & ignores SIGINT, and so would everything that it starts.
    """
    log = settings.home / "logs" / f"{service.name.lower().replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            service.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings.environment(), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            restore_signals=True,
            preexec_fn=_default_signals,
        )
    return psutil.Process(process.pid)


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_until_up(service: Service, process: psutil.Process, settings: Settings) -> None:
    def connect() -> None:
        if service.url is not None:
            urllib.request.urlopen(service.url, timeout=5).close()  # noqa: S310 - our own loopback address

    try:
        until_up(connect, lambda: not runs(process), _START_SECONDS, wait_seconds=0.2)
    except TimeoutError as error:
        raise VeclipError(f"{service.name} did not come up: see {settings.home / 'logs'}") from error


def _wait_for_end(processes: dict[str, psutil.Process], settings: Settings) -> None:
    while True:
        for name, process in processes.items():
            if not runs(process):
                raise VeclipError(f"{name} ended by itself: see {settings.home / 'logs'}")
        time.sleep(0.5)


def _stop(processes: Sequence[psutil.Process]) -> None:
    family: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [*process.children(recursive=True), process]
    # Dagster ends its code servers and its runs on an interrupt.
    stop_processes(family, processes, signal.SIGINT, _STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_port(service: Service) -> None:
    if service.url is None:
        return
    address = urlsplit(service.url)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", address.port or 0))
        except OSError as error:
            raise UsageError(
                f"{service.name} wants port {address.port}, which is taken ({error}). Choose another: veclip ui --port, --mlflow-port, "
                "or VECLIP_SERVE_URL for the pages."
            ) from error
