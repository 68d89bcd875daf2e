"""Extracts image links from WAT files with cc2dataset's own function, in one process."""

import json
import sys
import time

from cc2dataset.main import extract_documents_from_wat

if __name__ == "__main__":
    started = time.perf_counter()
    count = 0
    for path in sys.argv[1:]:
        with open(path, "rb") as stream:
            count += sum(1 for _ in extract_documents_from_wat(stream, "image"))
    print(json.dumps({"count": count, "seconds": time.perf_counter() - started}))
