"""The Dask cluster on which assets fan out.

dagster_dask.dask_executor is not used: downstream assets materialise after an upstream failure, blocking checks do not
block, and two concurrent runs of a job share one Dask key (dagster-io/dagster#21418).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import dagster as dg
from pydantic import Field

from resources.home import HomeResource
from veclip_pipelines.compute.cluster import running_cluster, worker_environment
from veclip_pipelines.compute.fanout import DaskRunner
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.extras import require

_CONNECT_SECONDS = 30
_WORKERS = {"distributed.nanny.pre-spawn-environ": worker_environment(1), "distributed.worker.profile.enabled": False}


class DaskClusterResource(dg.ConfigurableResource["DaskClusterResource"]):
    """A scheduler and its workers."""

    home: dg.ResourceDependency[HomeResource]
    mode: Literal["veclip", "address", "local", "local_cuda"] = Field(
        default="veclip",
        description="veclip: the cluster that `veclip cluster up` started, else like local. address: a scheduler that runs "
        "somewhere. local: workers on this machine for this step only. local_cuda: the same, one per GPU, by dask-cuda.",
    )
    address: str = Field(default="", description="Scheduler address for mode address, such as tcp://10.0.0.5:8786.")
    workers: int = Field(default=2, ge=1, description="Workers in mode local.")

    @contextmanager
    def runner(self, run_id: str) -> Iterator[DaskRunner]:
        """A runner whose task keys begin with the run's id.

        Raises:
            UsageError: mode address without an address, or local_cuda without dask-cuda.
            VeclipError: the scheduler does not answer, or has no workers.
        """
        from distributed import Client

        # It logs tracebacks for minutes if the scheduler is gone; the runner says so in one error.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        with self._scheduler() as target:
            try:
                client = Client(target, timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError) as error:
                raise VeclipError(f"the Dask scheduler {target} does not answer: {error}") from error
            with client:
                try:
                    client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
                except TimeoutError as error:
                    raise VeclipError(f"the Dask scheduler {target} has no workers") from error
                dg.get_dagster_logger().info("Dask dashboard: %s", client.dashboard_link)
                yield DaskRunner(client, run_id)

    @contextmanager
    def _scheduler(self) -> Iterator[object]:
        import dask

        if self.mode == "address":
            if not self.address:
                raise UsageError("resource dask: mode address needs the scheduler's address")
            yield self.address
            return
        if self.mode == "veclip" and (cluster := running_cluster(self.home.settings())):
            yield cluster.address
            return
        if self.mode == "local_cuda":
            cuda = require("dask_cuda", UsageError)
            with dask.config.set(_WORKERS), cuda.LocalCUDACluster() as cluster:
                yield cluster
            return
        if self.mode == "veclip":
            dg.get_dagster_logger().warning(
                "no cluster is running, so workers start for this step only and load their models again: veclip cluster up keeps them"
            )
        from distributed import LocalCluster

        sizes = {"n_workers": self.workers, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        with dask.config.set(_WORKERS), LocalCluster(**sizes) as cluster:
            yield cluster
