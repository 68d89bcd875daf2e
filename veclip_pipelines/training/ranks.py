"""One rank per Dask worker: started by the asset, joined at the first worker's address, restarted when one is lost."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veclip_pipelines.compute.fanout import DaskRunner, stop_if_cancelled
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.training.checkpoint import (
    CheckpointTask,
    begin_run,
    finish_training,
    prepare_training,
    run_rank,
    state_folder,
)
from veclip_pipelines.training.step_log import saved_facts

if TYPE_CHECKING:
    from distributed import Client, Future

_LOG = logging.getLogger(__name__)
#: Consecutive starts without progress after which training gives up.
_FRUITLESS = 3
_WAIT_SECONDS, _LOOK_SECONDS = 120.0, 1.0


@dataclass(frozen=True)
class RankTask:
    """A rank as it is sent to a worker."""

    task: CheckpointTask
    rank: int
    world: int
    address: str
    mlflow_run_id: str


class RankLostError(Exception):
    """A rank, or the worker it ran on, is gone."""


def train_checkpoint(runner: DaskRunner, task: CheckpointTask, ranks: int) -> dict[str, Any]:
    """Trains, saves, logs to MLflow, writes the row and returns it. A run that was interrupted continues from its last state.

    Raises:
        VeclipError: as :func:`train_on`; then the MLflow run is FAILED.
    """
    prepare_training(task)
    mlflow_run_id = begin_run(task)
    try:
        row = train_on(runner, task, ranks, mlflow_run_id)
    except VeclipError:
        task.tracking.reopen(mlflow_run_id).end("FAILED")
        raise
    finish_training(task, row)
    return row


def train_on(runner: DaskRunner, task: CheckpointTask, ranks: int, mlflow_run_id: str) -> dict[str, Any]:
    """Trains a checkpoint with one rank per worker, and returns what the first rank returned.

    Args:
        ranks: how many; 0 takes all workers.

    Raises:
        VeclipError: what training itself raised; or ranks were lost again and again without progress.
    """
    client, fruitless, attempt = runner.client, 0, 0
    reached = saved_facts(state_folder(task))[0]
    while True:
        workers = _workers(client, ranks)
        try:
            return _attempt(
                client, f"{runner.run_id}-train-{task.checkpoint_id}-{attempt}", task, workers, mlflow_run_id
            )
        except RankLostError as error:
            step = saved_facts(state_folder(task))[0]
            fruitless = 0 if step > reached else fruitless + 1
            reached, attempt = max(step, reached), attempt + 1
            _LOG.warning("a rank was lost (%s): training goes on from step %d", error, step)
            if fruitless >= _FRUITLESS:
                raise VeclipError(
                    f"training lost a rank {fruitless} times without getting beyond step {step}: {error}. Is memory short on the workers?"
                ) from error


def _workers(client: Client, ranks: int) -> list[str]:
    """Addresses of the workers to train on. Raises VeclipError if there are too few."""
    wanted = max(ranks, 1)
    try:
        client.wait_for_workers(wanted, timeout=_WAIT_SECONDS)
    except TimeoutError as error:
        raise VeclipError(
            f"training wants {wanted} ranks, one a Dask worker, and there are {len(_present(client))} workers"
        ) from error
    present = sorted(_present(client))
    return present[:ranks] if ranks else present


def _present(client: Client) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _attempt(
    client: Client, key: str, task: CheckpointTask, workers: Sequence[str], mlflow_run_id: str
) -> dict[str, Any]:
    from distributed import CancelledError, KilledWorker, wait
    from distributed.comm import CommClosedError

    lost = (CancelledError, KilledWorker, CommClosedError, RuntimeError, OSError, TimeoutError)

    def send(function: Callable[..., Any], item: object, worker: str, name: str) -> Future[Any]:
        return client.submit(
            function, item, workers=[worker], allow_other_workers=False, retries=0, pure=False, key=f"{key}-{name}"
        )

    futures: list[Future[Any]] = []
    try:
        address = "" if len(workers) == 1 else send(_meeting_place, workers[0], workers[0], "meet").result(timeout=60)
        for rank, worker in enumerate(workers):
            item = RankTask(task, rank, len(workers), address, mlflow_run_id)
            futures.append(send(_run, item, worker, f"rank-{rank}"))
        while True:
            with suppress(TimeoutError):
                wait(futures, timeout=_LOOK_SECONDS)
            failed = [future for future in futures if future.status in ("error", "cancelled", "lost")]
            # An error of training itself takes precedence over what it caused in the other ranks.
            for future in failed:
                error = future.exception() if future.status == "error" else None
                if isinstance(error, VeclipError):
                    raise error
            if failed:
                time.sleep(_LOOK_SECONDS)  # the rank where the failure began may be about to report it
                errors = [future.exception() for future in futures if future.status == "error"]
                for error in errors:
                    if isinstance(error, VeclipError) or not isinstance(error, lost):
                        raise error
                raise RankLostError(str(errors[0]) if errors else "its task was cancelled")
            if all(future.status == "finished" for future in futures):
                return futures[0].result()  # type: ignore[no-any-return]
            if gone := set(workers) - _present(client):
                raise RankLostError(f"worker {', '.join(sorted(gone))} is gone")
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise RankLostError(str(error)) from error
    finally:
        client.cancel(futures, force=True)


def _meeting_place(worker: str) -> str:
    """A free port on the first rank's machine."""
    host = worker.split("://", 1)[1].rpartition(":")[0]
    with socket.socket() as found:
        found.bind((host, 0))
        return f"tcp://{host}:{found.getsockname()[1]}"


def _run(item: RankTask) -> dict[str, Any]:
    """Runs on a worker."""
    return run_rank(item.task, item.rank, item.world, item.address, item.mlflow_run_id, stop_if_cancelled)
