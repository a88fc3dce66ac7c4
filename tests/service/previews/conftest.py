"""A house per test; tests that need one database only say so (see tests/conftest.py)."""

from pathlib import Path

import pytest

from service.settings import Settings
from tests.previews_house import Parlour
from tests.stories import Story


@pytest.fixture
def parlour(story: Story, settings: Settings, tmp_path: Path) -> Parlour:
    return Parlour(story, settings, tmp_path)
