"""The experiment's folders, and its captioner's place among the models."""

from __future__ import annotations

import shutil
from pathlib import Path

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.experiment.captioner import SHIPPED
from veclip_pipelines.experiment.design import CAPTIONER
from veclip_pipelines.media.storage import whole_folder


def crawl_folder(settings: Settings) -> Path:
    return settings.home / "experiment" / "crawl"


def report_folder(settings: Settings) -> Path:
    return settings.home / "experiment" / "report"


def install_captioner(settings: Settings) -> Path:
    """Puts the captioner that ships into the folder where engine profiles look for models."""
    target = settings.models / CAPTIONER
    if not target.is_dir():
        with whole_folder(target) as scratch:
            shutil.copytree(SHIPPED, scratch, dirs_exist_ok=True)
    return target
