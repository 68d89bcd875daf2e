"""Dagster's daemon unchanged, except that it looks at its backfills every second: python quick_daemon.py run -m quick_definitions.

Dagster has half a minute hard-coded, and a backfill takes two looks or more: most of such a test would be waiting.
"""

from __future__ import annotations

from dagster._daemon import controller
from dagster._daemon.cli import main

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1  # type: ignore[misc]
    main()
