"""Engines by their profile's name."""

import dagster as dg

from resources.home import HomeResource
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.prompts import Purpose


class EnginesResource(dg.ConfigurableResource["EnginesResource"]):
    """Finds profiles, prompts and models; a worker loads the engine itself, once, and keeps it."""

    home: dg.ResourceDependency[HomeResource]

    def resolve(self, profile: str, purpose: Purpose, code_version: str) -> EngineSpec:
        return resolve_engine(self.home.settings(), profile, purpose, code_version)
