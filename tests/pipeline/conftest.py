"""Fixtures that several tests of the pipeline share."""

from tests.pipeline.campaign_world import world

__all__ = ["world"]
