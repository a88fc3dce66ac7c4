"""Tests marked `renderer` need FluidSynth and a sound font; without them they fail in CI only."""

import os

import pytest

from workers.training.data.soundfont import RendererMissing, SoundFont, find_fonts


def _missing() -> str | None:
    try:
        SoundFont(find_fonts()[0], 44_100)
    except RendererMissing as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them with the renderer's own word on what to install."""
    marked = [item for item in items if item.get_closest_marker("renderer")]
    if not marked or os.environ.get("CI") == "true":
        return
    reason = _missing()
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
