"""An OpenAI-compatible server that misbehaves in the way the AltText asks for; and a real one, ``transformers serve``."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class ChatServer:
    """What it was asked, and how it is to answer."""

    def __init__(self) -> None:
        self.url = ""
        self.sees = True
        self.counts = True
        self.requests: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.most_open = 0
        self.authorisations: set[str] = set()
        self._open = 0

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.authorisations.add(request.headers.get("authorization", ""))
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            await asyncio.sleep(0.02)
            return self._answer(body)
        finally:
            self._open -= 1

    def _answer(self, body: dict[str, Any]) -> Response:
        content = body["messages"][-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = next(part["text"] for part in parts if part["type"] == "text")
        pictures = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        self.asked[text] += 1
        if body["model"] != "m":
            return JSONResponse({"error": {"message": "no such model"}}, 404)
        if "busy" in text and self.asked[text] < 3:
            return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after-ms": "10"})
        if "broken" in text:
            return JSONResponse({"error": {"message": "a bug"}}, 500, headers={"retry-after-ms": "10"})
        if "too long" in text:
            return JSONResponse({"error": {"message": "maximum context length"}}, 400)
        filtered = "filtered" in text
        answer = f"says: {text}"
        if pictures and self.sees:
            answer = _colour(pictures[0])
        tokens = 20 + (64 if pictures and self.sees else 0)
        return JSONResponse(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": answer},
                        "finish_reason": "content_filter" if filtered else "length" if "cut" in text else "stop",
                    }
                ],
                "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5}
                if self.counts
                else None,
            }
        )


def _colour(url: str) -> str:
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    red, green, blue = Image.open(io.BytesIO(base64.b64decode(data))).resize((1, 1)).getpixel((0, 0))
    return "red" if red > max(green, blue) else "green" if green > blue else "blue"


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """The misbehaving server on a free port of loopback."""
    server = ChatServer()
    app = Starlette(routes=[Route("/v1/chat/completions", server.complete, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[str]:
    """``transformers serve`` with a local model; yields its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--host", "127.0.0.1"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
