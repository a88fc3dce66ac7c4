"""A house per test; tests that need one database only say so (see tests/conftest.py)."""

import pytest

from service.settings import Settings
from tests.jobs_house import House
from tests.stories import Story


@pytest.fixture
def house(story: Story, settings: Settings) -> House:
    return House(story, settings)
