"""A local HTTP server that misbehaves in every way that a fetcher meets, one path for each. Real sockets, on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

from builders import picture

JPEG = picture(3, size=(400, 300), kind="JPEG")


class Web:
    """The running server: its address and what was asked of it."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.robots: str | None = None
        self.broken = False
        self.pictures: dict[str, bytes] = {}
        self.most_open = 0
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                path = urlsplit(unquote(request.split(b" ", 2)[1].decode())).path
                self.asked[path] += 1
                self._open += 1
                self.most_open = max(self.most_open, self._open)
                try:
                    keep = await self._answer(path, writer)
                finally:
                    self._open -= 1
                await writer.drain()
                if not keep:
                    break
        writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; says whether the connection stays open."""
        name = path.lstrip("/").split("/")[0]
        times = self.asked[path]
        if path == "/robots.txt":
            _send(writer, 200 if self.robots is not None else 404, (self.robots or "").encode(), "text/plain")
        elif name == "pictures":
            await asyncio.sleep(0.01)
            if self.broken:
                _send(writer, 503, b"", "text/plain")
            else:
                _send(writer, 200, self.pictures.get(path, JPEG), "image/jpeg")
        elif name == "drip":  # a byte a tenth of a second, for ever
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b"\xff")
                await writer.drain()
                await asyncio.sleep(0.1)
        elif name == "silent":
            await asyncio.sleep(60)
        elif name == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
            block = bytes(65536)
            while True:
                writer.write(b"10000\r\n" + block + b"\r\n")
                await writer.drain()
        elif name == "huge":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 99999999999\r\n\r\n")
            return False
        elif name == "bomb":  # 10 MB of zeros in 10 kB
            import gzip

            _send(writer, 200, gzip.compress(bytes(10 * 2**20)), "image/jpeg", "Content-Encoding: gzip")
        elif name == "gzip":
            import gzip

            _send(writer, 200, gzip.compress(JPEG), "image/jpeg", "Content-Encoding: gzip")
        elif name == "loop":
            _send(writer, 302, b"", "text/plain", f"Location: {path}")
        elif name == "moved":
            _send(writer, 301, b"", "text/plain", "Location: /pictures/moved.jpg")
        elif name == "inside":  # a redirect to what only this machine can reach
            _send(writer, 302, b"", "text/plain", "Location: http://169.254.169.254/latest/meta-data/")
        elif name == "file":
            _send(writer, 302, b"", "text/plain", "Location: file:///etc/passwd")
        elif name == "html":
            _send(writer, 200, b"<!DOCTYPE html><html>not here</html>", "text/html; charset=utf-8")
        elif name == "html-as-jpg":
            _send(writer, 200, b"<!DOCTYPE html><html>not here</html>", "image/jpeg")
        elif name == "missing":
            _send(writer, 404, b"", "text/plain")
        elif name == "forbidden":
            _send(writer, 403, b"", "text/plain")
        elif name == "busy-once":
            if times == 1:
                _send(writer, 429, b"", "text/plain", "Retry-After: 1")
            else:
                _send(writer, 200, JPEG, "image/jpeg")
        elif name == "busy-for-long":
            _send(writer, 429, b"", "text/plain", "Retry-After: 3600")
        elif name == "error":
            _send(writer, 500, b"", "text/plain")
        elif name == "reset":
            writer.transport.abort()
            return False
        elif name == "half":  # says more than it sends
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG))
            writer.write(JPEG[: len(JPEG) // 2])
            return False
        elif name == "half-and-proud":  # sends half a picture as if it were all
            _send(writer, 200, JPEG[: len(JPEG) // 2], "image/jpeg")
        elif name == "noai":
            _send(writer, 200, JPEG, "image/jpeg", "X-Robots-Tag: noai, noimageai")
        elif name == "other-bot":
            _send(writer, 200, JPEG, "image/jpeg", "X-Robots-Tag: googlebot: noindex")
        elif name == "tdm":
            _send(writer, 200, JPEG, "image/jpeg", "TDM-Reservation: 1")
        elif name == "garbage":
            writer.write(b"\x00\x01 nothing that is HTTP\r\n\r\n")
            return False
        else:
            _send(writer, 404, b"", "text/plain")
        return True


def _send(writer: asyncio.StreamWriter, status: int, body: bytes, kind: str, *headers: str) -> None:
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]
    writer.write("\r\n".join(head).encode() + body)


@contextmanager
def running_web() -> Iterator[Web]:
    """The server in a thread of its own, stopped at the end."""
    web, ready, loop = Web(), threading.Event(), asyncio.new_event_loop()

    async def main() -> None:
        server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
        web.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        with suppress(asyncio.CancelledError):
            await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield web
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(5)
