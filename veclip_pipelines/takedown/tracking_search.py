"""Searching what an MLflow tracking server keeps: its runs, experiments and models, and the files of its runs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.takedown.content_search import NOT_READ, Hit, Searched

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 200


def search_server(client: MlflowClient, searched: Searched) -> Iterator[tuple[str, Hit]]:
    """The hits on a tracking server, each with its place; also in what was deleted but not yet purged.

    Raises:
        VeclipError: the server does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield from _search(client, searched)
    except MlflowException as error:
        raise VeclipError(str(error)) from error


def _search(client: MlflowClient, searched: Searched) -> Iterator[tuple[str, Hit]]:
    from mlflow.entities import ViewType

    place = client.tracking_uri.rstrip("/")
    for experiment in _pages(client.search_experiments, view_type=ViewType.ALL):
        yield from _told(dict(experiment), f"{place}/#/experiments/{experiment.experiment_id}", searched)
        for run in _pages(client.search_runs, [experiment.experiment_id], run_view_type=ViewType.ALL):
            where = f"{place}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
            yield from _told(run.to_dictionary(), where, searched)
            for path in _files(client, run):
                yield from ((f"{run.info.artifact_uri}/{path}", hit) for hit in _file(client, run, path, searched))
    for model in _pages(client.search_registered_models):
        yield from _told(dict(model), f"{place}/#/models/{model.name}", searched)
    for version in _pages(client.search_model_versions):
        yield from _told(dict(version), f"{place}/#/models/{version.name}/versions/{version.version}", searched)


def _pages(search: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, max_results=_PAGE, page_token=token, **named)
        yield from page
        token = page.token
        if not token:
            return


def _told(found: dict[str, Any], where: str, searched: Searched) -> Iterator[tuple[str, Hit]]:
    text = json.dumps(found, default=str, ensure_ascii=False)
    return ((where, hit) for hit in searched.text(text, ""))


def _files(client: MlflowClient, run: Run, folder: str | None = None) -> Iterator[str]:
    for file in client.list_artifacts(run.info.run_id, folder):
        if file.is_dir:
            yield from _files(client, run, file.path)
        elif not file.path.endswith(NOT_READ):
            yield file.path


def _file(client: MlflowClient, run: Run, path: str, searched: Searched) -> Iterator[Hit]:
    with tempfile.TemporaryDirectory(prefix="veclip-verify-") as scratch:
        name = client.download_artifacts(run.info.run_id, path, scratch)
        yield from searched.file(str(Path(name).resolve()))
