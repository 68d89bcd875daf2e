"""Optional packages: each belongs to an extra that exists, and the same message says when one is missing."""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from veclip_pipelines.errors import ModelMissingError, VeclipError
from veclip_pipelines.extras import OPTIONAL_PACKAGES, require


@pytest.mark.parametrize("package", OPTIONAL_PACKAGES)
def test_each_extra_is_one_of_the_project(package: str) -> None:
    assert OPTIONAL_PACKAGES[package].extra in (metadata("veclip-pipelines").get_all("Provides-Extra") or [])


@pytest.mark.parametrize("package", OPTIONAL_PACKAGES)
def test_a_package_that_is_missing_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    about = OPTIONAL_PACKAGES[package]
    message = rf"^{about.needed_by} needs {package}, which .* pip install 'veclip-pipelines\[{about.extra}\]'"
    with pytest.raises(VeclipError, match=message):
        require(package)
    with pytest.raises(ModelMissingError, match=message):
        require(f"{package}.inner", ModelMissingError)


def test_a_package_that_is_there_is_imported() -> None:
    assert require("json.decoder").JSONDecodeError.__name__ == "JSONDecodeError"


def test_a_package_that_is_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VeclipError, match=r"vllm, which cannot be imported \(libcudart"):
        require("vllm")
