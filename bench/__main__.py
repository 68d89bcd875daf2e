"""python -m bench NAME [--keep]"""

from __future__ import annotations

import argparse
import importlib

from bench.outcome import report

BENCHMARKS = (
    "index-drop",
    "extract-wat",
    "fetch",
    "partition-cost",
    "duplicates",
    "fusion",
    "captioning",
    "dask-scaling",
    "graph-overhead",
    "many-workers",
    "loader",
    "train-step",
    "evaluation",
    "lookup-filters",
    "trace",
    "audit",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Side-by-side measurements.")
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--n", type=int, help="rows to measure on")
    parser.add_argument("--keep", action="store_true", help="keep the result in bench/results/")
    arguments = parser.parse_args()
    module = importlib.import_module(f"bench.{arguments.name.replace('-', '_')}")
    result, details = module.run(arguments.n) if arguments.n else module.run()
    report(result, details, keep=arguments.keep)


if __name__ == "__main__":
    main()
