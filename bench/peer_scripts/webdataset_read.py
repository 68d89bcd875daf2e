"""Reads and decodes every sample of a folder of tars with webdataset, one process a core."""

import json
import multiprocessing
import sys
import time
from pathlib import Path

import webdataset as wds


def read(urls):
    count = 0
    for picture, text in (
        wds.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil").to_tuple("jpg", "txt")
    ):
        count += picture.size[0] > 0 and text is not None
    return count


def warm_up(url):
    return next(iter(wds.WebDataset([url], shardshuffle=False).decode("pil").to_tuple("jpg", "txt")))[0].size


if __name__ == "__main__":
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(warm_up, urls[: 2 * processes], chunksize=1)  # start-up does not count
        started = time.perf_counter()
        count = sum(pool.map(read, [[url] for url in urls], chunksize=1))
        seconds = time.perf_counter() - started
    print(json.dumps({"count": count, "seconds": seconds}))
