"""Where things are: VECLIP_HOME and the places in it."""

import dagster as dg

from veclip_pipelines.config.settings import Settings


class HomeResource(dg.ConfigurableResource["HomeResource"]):
    """The places of this installation, read from the environment when a step asks for them. All other resources use this one."""

    def settings(self) -> Settings:
        return Settings.from_env()
