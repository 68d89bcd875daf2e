"""Engines on an OpenAI-compatible server: retries, limits, faults of one row and faults of the server, and whether the model sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import write_profile
from chat_server import ChatServer, chat_server, transformers_serve
from PIL import Image

from veclip_pipelines.compute.fanout import CancelledTaskError
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.base import EngineText, PictureBatch, TextBatch
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.openai_server import ServerImageTextEngine, ServerTextEngine
from veclip_pipelines.engines.transformers_text import TransformersTextEngine
from veclip_pipelines.errors import EngineError, UsageError


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


def spec(settings: Settings, server: str, purpose: str = "fusion", **fields: object) -> EngineSpec:
    kind = "server-text" if purpose == "fusion" else "server-image-text"
    content = {"purpose": purpose, "kind": kind, "model": "m", "prompt": purpose, "server": server, **fields}
    write_profile(settings.home, "served", **content)
    return resolve_engine(settings, "served", purpose, "1")  # type: ignore[arg-type]


def ask(engine: ServerTextEngine, *texts: str) -> list[EngineText]:
    batch = TextBatch(tuple({"alt_text": text, "concept": "a cat"} for text in texts), texts)
    return engine.answer(engine.prepare(batch))


def test_rows_are_answered_in_order_many_at_a_time(settings: Settings, server: ChatServer) -> None:
    engine = ServerTextEngine(spec(settings, server.url, in_flight=8))
    texts = [f"text {number}" for number in range(40)]
    answers = ask(engine, *texts)
    assert all(f"Text: {text}\n" in answer.text for text, answer in zip(texts, answers, strict=True))
    assert 4 <= server.most_open <= 8
    assert {(answer.finish_reason, answer.token_count, answer.prompt_tokens) for answer in answers} == {("stop", 5, 20)}
    assert len({request["seed"] for request in server.requests[-40:]}) == 40
    assert {request["messages"][0]["role"] for request in server.requests} == {"system"}


def test_what_is_wrong_with_one_row_is_that_rows_alone(settings: Settings, server: ChatServer) -> None:
    engine = ServerTextEngine(spec(settings, server.url))
    answers = ask(engine, "busy one", "too long one", "broken one", "filtered one", "cut one", "fine")
    reasons = [answer.finish_reason for answer in answers]
    assert reasons == ["stop", "failed", "failed", "failed", "length", "stop"]
    assert "maximum context length" in answers[1].detail
    assert "500" in answers[2].detail
    assert "content filter" in answers[3].detail


def test_a_server_that_refuses_every_row_or_is_gone_is_an_error(settings: Settings, server: ChatServer) -> None:
    engine = ServerTextEngine(spec(settings, server.url))
    with pytest.raises(EngineError, match=r"refuses every row: .*maximum context length"):
        ask(engine, "too long", "too long too")
    with pytest.raises(EngineError, match="404"):
        ServerTextEngine(spec(settings, server.url, model="other"))
    with pytest.raises(EngineError, match="does not answer"):
        ServerTextEngine(spec(settings, "http://127.0.0.1:9/v1"))


def test_a_key_comes_from_the_workers_environment(
    settings: Settings, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="no environment variable MY_KEY"):
        ServerTextEngine(spec(settings, server.url, api_key_env="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "secret")
    ServerTextEngine(spec(settings, server.url, api_key_env="MY_KEY"))
    assert "Bearer secret" in server.authorisations


@pytest.mark.parametrize("counts", [True, False])
def test_a_model_that_sees_is_let_in_and_one_that_drops_pictures_is_not(
    settings: Settings, server: ChatServer, counts: bool
) -> None:
    server.counts = counts
    engine = ServerImageTextEngine(spec(settings, server.url, "concept"))
    pictures = tuple(Image.new("RGB", (30, 20), colour) for colour in ("blue", "red"))
    answers = engine.answer(engine.prepare(PictureBatch(pictures, ({}, {}), ("a", "b"))))
    assert [answer.text for answer in answers] == ["blue", "red"]
    server.sees = False
    with pytest.raises(EngineError, match="does not see"):
        ServerImageTextEngine(spec(settings, server.url, "concept"))


def test_nobody_waiting_stops_the_requests(settings: Settings, server: ChatServer) -> None:
    engine = ServerTextEngine(spec(settings, server.url, in_flight=1))
    batch = TextBatch(tuple({"alt_text": str(n), "concept": "a"} for n in range(500)), tuple(map(str, range(500))))

    def stop() -> None:
        raise CancelledTaskError

    with pytest.raises(CancelledTaskError):
        engine.answer(engine.prepare(batch), stop)
    assert len(server.requests) < 100


def test_the_servers_address_is_no_part_of_what_the_engine_is(settings: Settings) -> None:
    one, two = spec(settings, "http://127.0.0.1:1/v1"), spec(settings, "http://127.0.0.1:2/v1")
    assert one.engine_id == two.engine_id
    assert spec(settings, "http://127.0.0.1:2/v1", revision="b").engine_id != one.engine_id
    with pytest.raises(UsageError, match="names no server"):
        spec(settings, "")


@pytest.mark.slow
def test_transformers_serve_answers_as_the_engine_in_the_process_and_cannot_see(
    settings: Settings, demo_models: Path, tmp_path: Path
) -> None:
    model = demo_models / "smollm2-135m-instruct"
    fields = (
        {"alt_text": "our cat Chelsea", "concept": "a cat in brown"},
        {"alt_text": "old harbour", "concept": "a boat"},
    )
    with transformers_serve(model, tmp_path / "serve.log") as url:
        engine = ServerTextEngine(spec(settings, url, model=str(model), decoding={"max_new_tokens": 16}, in_flight=2))
        batch = TextBatch(fields, ("a", "b"))
        answers = engine.answer(engine.prepare(batch))
        with pytest.raises(EngineError, match="does not see"):
            ServerImageTextEngine(spec(settings, url, "concept", model=str(model)))
        with pytest.raises(EngineError, match="400"):
            ServerTextEngine(spec(settings, url, model="another"))
    write_profile(
        settings.home, "here", purpose="fusion", kind="transformers-text", model=str(model), prompt="fusion",
        decoding={"max_new_tokens": 16},
    )  # fmt: skip
    here = TransformersTextEngine(resolve_engine(settings, "here", "fusion", "1"))
    assert [answer.text for answer in answers] == [answer.text for answer in here.answer(here.prepare(batch))]
    assert all(answer.prompt_tokens > 200 for answer in answers)
