"""A takedown's report as a page that can be sent to whoever asked for it: no picture and no text of what was taken down is in it."""

from __future__ import annotations

from veclip_pipelines.serving.trace_page import environment
from veclip_pipelines.takedown.consequences import Report


def takedown_page(found: Report) -> str:
    """The report as one self-contained HTML file."""
    return environment().get_template("takedown.html").render(report=found)
