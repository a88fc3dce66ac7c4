"""Tests marked `renderer` are skipped without FluidSynth, as those of the training are."""

from tests.workers.training.conftest import pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]
