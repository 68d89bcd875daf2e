"""Engines by the name of their profile."""

import dagster as dg

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.prompts import Purpose


class EnginesResource(dg.ConfigurableResource):
    """Finds profiles, prompts and models; a worker loads the engine itself, once, and keeps it."""

    def resolve(self, profile: str, purpose: Purpose, code_version: str) -> EngineSpec:
        return resolve_engine(Settings.from_env(), profile, purpose, code_version)
