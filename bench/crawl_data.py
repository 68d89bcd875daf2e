"""Data to measure the crawl's steps on: drops, WATs and a server, made here, of photographs that scikit-image ships."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_SIDE = 256
_WORDS = (
    "a red wooden house by the lake with mountains old vintage poster of cat dog running in park summer dress women size "
    "blue kitchen table oak handmade shop best price new collection portrait street photo city night rain coffee cup"
).split()


def photographs(count: int, seed: int = 0) -> list[bytes]:
    """Different JPEGs of 256 pixels, as img2dataset writes them: cut at random from real photographs."""
    import skimage.data

    rng = random.Random(seed)
    images = [
        Image.fromarray(image).convert("RGB")
        for image in (skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket())
    ]
    found = []
    for _ in range(count):
        image = rng.choice(images)
        side = rng.randint(180, min(image.size))
        left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
        buffer = io.BytesIO()
        image.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(
            buffer, "JPEG", quality=95
        )
        found.append(buffer.getvalue())
    return found


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(3, 14)))


def write_img2dataset_drop(folder: Path, count: int, per_shard: int) -> Path:
    """A drop in img2dataset's webdataset layout, of ``count`` pictures that all differ."""
    folder.mkdir(parents=True)
    rng = random.Random(1)
    pictures = photographs(500)
    for shard, start in enumerate(range(0, count, per_shard)):
        rows = []
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(min(per_shard, count - start)):
                key = f"{shard:05d}{index:04d}"
                # A comment before the end-of-image marker makes each picture's bytes its own.
                data = pictures[rng.randrange(len(pictures))]
                comment = f"{start + index:08d}".encode()
                data = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
                url, caption = f"https://pictures.example/{start + index}.jpg", text(rng)
                meta = {
                    "caption": caption, "url": url, "key": key, "status": "success", "error_message": None, "width": _SIDE,
                    "height": _SIDE, "original_width": 800, "original_height": 600, "exif": "{}",
                    "sha256": hashlib.sha256(data).hexdigest(),
                }  # fmt: skip
                rows.append(meta)
                for ending, body in (("jpg", data), ("txt", caption.encode()), ("json", json.dumps(meta).encode())):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(rows)}), "utf-8")
    return folder


def write_wat(path: Path, pages: int, seed: int) -> Path:
    """A WAT file with pages as Common Crawl's are: some sixty links each, of which a fifth are pictures, half with AltText."""
    rng = random.Random(seed)
    with path.open("wb") as file:
        for number in range(pages):
            page = f"https://site-{number % 97}.example/shop/{number}.html"
            data = json.dumps(_wat_record(rng, page, number)).encode()
            head = (
                f"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: {page}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
                "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n\r\n"
            )
            file.write(gzip.compress(head.encode() + data + b"\r\n\r\n", 6))
    return path


def _wat_record(rng: random.Random, page: str, number: int) -> dict[str, Any]:
    links: list[dict[str, str]] = []
    for index in range(rng.randint(20, 100)):
        kind = rng.random()
        if kind < 0.1:
            links.append({"path": "IMG@/src", "url": f"/media/{number}/{index}.jpg", "alt": text(rng)})
        elif kind < 0.2:
            links.append({"path": "IMG@/src", "url": f"https://cdn.example/{number}/{index}.png"})
        else:
            links.append({"path": "A@/href", "url": f"/page/{rng.randrange(10**6)}?q={index}", "text": text(rng)})
    metas = [{"name": "description", "content": text(rng)}, {"property": "og:title", "content": text(rng)}]
    headers = {
        name: text(rng) for name in ("Date", "Server", "Content-Type", "Cache-Control", "Set-Cookie", "X-Powered-By")
    }
    return {
        "Container": {"Filename": "x.warc.gz", "Compressed": True, "Offset": "0", "Gzip-Metadata": {"Deflate-Length": "1"}},
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Length": "600",
            "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": page, "WARC-Record-ID": "<urn:uuid:0>"},
            "Payload-Metadata": {
                "Actual-Content-Type": "application/http; msgtype=response",
                "HTTP-Response-Metadata": {
                    "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"},
                    "Headers": headers,
                    "HTML-Metadata": {"Head": {"Title": text(rng), "Metas": metas}, "Links": links},
                },
            },
        },
    }  # fmt: skip


def write_url_table(path: Path, base_url: str, count: int) -> Path:
    rng = random.Random(2)
    path.parent.mkdir(parents=True)
    pq.write_table(
        pa.table({"url": [f"{base_url}/{n}.jpg" for n in range(count)], "text": [text(rng) for _ in range(count)]}),
        path,
    )
    return path.parent


async def serve_pictures(ready: Any) -> None:
    """A server that answers every path with one of some pictures, at once. Its port is sent through ``ready``."""
    responses = [
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data
        for data in photographs(50)
    ]

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport, self.pending = transport, b""

        def data_received(self, data: bytes) -> None:
            self.pending += data
            while b"\r\n\r\n" in self.pending:
                head, _, self.pending = self.pending.partition(b"\r\n\r\n")
                if b"robots.txt" in head:
                    self.transport.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                else:
                    self.transport.write(responses[hash(head[:30]) % len(responses)])

    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0, backlog=1024)
    ready.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def run_server(ready: Any) -> None:
    asyncio.run(serve_pictures(ready))
