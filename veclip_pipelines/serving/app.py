"""The pages: read-only, on loopback, every foreign text escaped, no script anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation import scoreboard
from veclip_pipelines.lineage.graph import Subject, find_subject, lineage_graph
from veclip_pipelines.lineage.questions import Kind, Question, understand
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.lineage.tree import tree_of
from veclip_pipelines.media.pictures import PictureError
from veclip_pipelines.media.shards import read_ranges
from veclip_pipelines.reporting.card import data_card
from veclip_pipelines.serving import crawl_pages, plots, shown_samples
from veclip_pipelines.serving.contact_sheet import contact_sheet, thumbnail_jpeg
from veclip_pipelines.serving.lineage_picture import lineage_svg
from veclip_pipelines.serving.standalone_pages import environment, pictures_of, render_report, takedown_page
from veclip_pipelines.stages import caption_stages
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.consequences import report_of
from veclip_pipelines.takedown.register import list_takedowns
from veclip_pipelines.training.checkpoint import read_history

_PAGE = 25
_SHEET = 12
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(
    settings: Settings, warehouse: Warehouse, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
) -> Starlette:
    """The web application.

    Args:
        hosts: host names that a request may carry: others are refused, which prevents DNS rebinding by other pages.
    """
    templates = environment()

    def page(template: str, **values: Any) -> Response:
        return HTMLResponse(templates.get_template(template).render(**values), headers=_HEADERS)

    def index(request: Request) -> Response:
        del request
        checkpoints = shown_samples.checkpoints_of(warehouse)
        return page(
            "index.html",
            counts=shown_samples.partition_counts(warehouse),
            checkpoints=checkpoints,
            takedowns=list_takedowns(warehouse),
            scores=scoreboard.newest_scores(warehouse),
        )

    def partition(request: Request) -> Response:
        key = request.path_params["key"]
        if key.endswith(".png"):
            return _png(contact_sheet(shown_samples.kept_samples(warehouse, key.removesuffix(".png"), _SHEET)))
        number = _page_number(request)
        rows = shown_samples.kept_samples(warehouse, key, _PAGE + 1, offset=(number - 1) * _PAGE)
        if not rows and number == 1:
            raise HTTPException(404, "no kept samples in a crawl partition of that name")
        return page("partition.html", key=key, rows=rows[:_PAGE], number=number, more=len(rows) > _PAGE)

    def picture(request: Request) -> Response:
        place = shown_samples.find_picture(warehouse, request.path_params["sha256"])
        if place is None:
            raise HTTPException(404, "no kept picture with that hash")
        try:
            data = thumbnail_jpeg(next(read_ranges([place])))
        except (PictureError, OSError) as error:
            raise HTTPException(404, "the picture cannot be read from its shard any more") from error
        return Response(data, media_type="image/jpeg", headers=_HEADERS)

    def recipe(request: Request) -> Response:
        name = request.path_params["name"]
        rows, checkpoints = (
            shown_samples.newest_set(warehouse, name, _PAGE),
            shown_samples.checkpoints_of(warehouse, name),
        )
        if not rows and not checkpoints:
            raise HTTPException(404, "no training set of that recipe")
        scores = [score for score in scoreboard.newest_scores(warehouse) if score["recipe"] == name]
        return page("recipe.html", name=name, rows=rows, checkpoints=checkpoints, scores=scores)

    def card(request: Request) -> Response:
        found = data_card(warehouse, _subject(request))
        lineage = f"/reports/{quote(request.path_params['what'])}/lineage.svg"
        pictures = {row["image_sha256"]: f"/pictures/{row['image_sha256']}.jpg" for row in found.samples}
        return HTMLResponse(render_report(found, lineage, pictures), headers=_HEADERS)

    def lineage_picture(request: Request) -> Response:
        graph = lineage_graph(warehouse, _subject(request))
        return Response(lineage_svg(graph), media_type="image/svg+xml", headers=_HEADERS)

    def _subject(request: Request) -> Subject:
        try:
            return find_subject(warehouse, request.path_params["what"], files=False)
        except UsageError as error:
            raise HTTPException(404, "no such training set or checkpoint") from error

    def texts_plot(request: Request) -> Response:
        name = request.path_params["name"]
        return _png(
            plots.length_histogram(shown_samples.text_lengths(warehouse, name), f"training set of recipe {name}")
        )

    def loss_plot(request: Request) -> Response:
        checkpoint_id = request.path_params["checkpoint_id"]
        known = {str(row["checkpoint_id"]): row for row in shown_samples.checkpoints_of(warehouse)}
        if checkpoint_id not in known:
            raise HTTPException(404, "no such checkpoint")
        row = known[checkpoint_id]
        return _png(plots.loss_curve(read_history(Path(str(row["uri"]))), f"{row['recipe']} ({checkpoint_id})"))

    def scores_plot(request: Request) -> Response:
        del request
        return _png(plots.score_bars(scoreboard.newest_scores(warehouse)))

    def scoreboard_page(request: Request) -> Response:
        del request
        ours, paper = scoreboard.our_rows(scoreboard.newest_scores(warehouse)), scoreboard.paper_rows()
        return page("scoreboard.html", tables=[scoreboard.table_of(rows) for rows in (ours, paper)])

    def scoreboard_plot(request: Request) -> Response:
        del request
        ours, paper = scoreboard.our_rows(scoreboard.newest_scores(warehouse)), scoreboard.paper_rows()
        return _png(scoreboard.plot(ours, paper))

    def experiment_plot(request: Request) -> Response:
        del request
        try:
            return _png((settings.home / "experiment" / "report" / "scores.png").read_bytes())
        except OSError as error:
            raise HTTPException(404, "the experiment was not run here: make experiment") from error

    def trace_page(request: Request) -> Response:
        kind = request.query_params.get("as")
        if kind is not None and kind not in set(Kind):
            raise HTTPException(400, f"as is one of {', '.join(Kind)}")
        what = request.query_params.get("of", "")
        try:
            # Nothing about files of this machine is revealed: only the tables are searched.
            question = Question(Kind(kind), what) if kind else understand(warehouse, what, files=False)
            tree = tree_of(trace(warehouse, question))
        except UsageError as error:
            raise HTTPException(400, str(error)) from error
        return page("trace.html", tree=tree, pictures={sha: f"/pictures/{sha}.jpg" for sha in pictures_of(tree)})

    def takedown(request: Request) -> Response:
        wanted = request.path_params["takedown_id"]
        found = next((one for one in list_takedowns(warehouse) if one.takedown_id == wanted), None)
        if found is None:
            raise HTTPException(404, "no such takedown")
        return HTMLResponse(takedown_page(report_of(warehouse, found)), headers=_HEADERS)

    def rejects(request: Request) -> Response:
        key = request.path_params["key"]
        return page("rejects.html", key=key, rows=crawl_pages.rejects_of(warehouse, key))

    def rejects_plot(request: Request) -> Response:
        key = request.path_params["key"]
        return _png(plots.reject_bars(crawl_pages.rejects_of(warehouse, key), key))

    def guards(request: Request) -> Response:
        key, asset = request.path_params["key"], request.path_params["asset"].removesuffix(".png")
        judged = [stage.name for stage in caption_stages()]
        if asset not in judged:
            raise HTTPException(404, f"guards judge {' and '.join(judged)}")
        if request.path_params["asset"].endswith(".png"):
            return _png(plots.guard_rates(crawl_pages.guard_history(warehouse, asset, key), f"guards of {asset}"))
        rows = crawl_pages.guard_examples(warehouse, asset, key)
        return page("guards.html", key=key, asset=asset, rows=rows)

    def duplicates(request: Request) -> Response:
        del request
        return page("duplicates.html", groups=crawl_pages.largest_groups(warehouse, _SHEET))

    def duplicates_plot(request: Request) -> Response:
        del request
        return _png(plots.group_sizes(crawl_pages.duplicate_sizes(warehouse)))

    routes = {
        "/": index,
        "/duplicates": duplicates,
        "/duplicates.png": duplicates_plot,
        "/partitions/{key}/guards/{asset}": guards,
        "/partitions/{key}/rejects": rejects,
        "/partitions/{key}/rejects.png": rejects_plot,
        "/scores.png": scores_plot,
        "/scoreboard": scoreboard_page,
        "/scoreboard.png": scoreboard_plot,
        "/experiment.png": experiment_plot,
        "/trace": trace_page,
        "/takedowns/{takedown_id}": takedown,
        "/partitions/{key}": partition,
        "/pictures/{sha256}.jpg": picture,
        "/recipes/{name}": recipe,
        "/reports/{what}": card,
        "/reports/{what}/lineage.svg": lineage_picture,
        "/recipes/{name}/texts.png": texts_plot,
        "/checkpoints/{checkpoint_id}/loss.png": loss_plot,
    }
    return Starlette(
        routes=[Route(path, handler, methods=["GET"]) for path, handler in routes.items()],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _error_page},
    )


async def _error_page(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, headers=_HEADERS)


def _page_number(request: Request) -> int:
    value = request.query_params.get("page", "1")
    if not value.isdecimal() or not 1 <= int(value) <= 10_000_000:
        raise HTTPException(400, "page must be a number from 1")
    return int(value)


def _png(data: bytes) -> Response:
    return Response(data, media_type="image/png", headers=_HEADERS)
