"""A house per test, or one studio a module, whose stages really run.

Tests with a house that need one database only say so (see tests/conftest.py).
"""

from collections.abc import Iterator

import pytest

from service.settings import Settings
from tests.jobs_house import House
from tests.stories import Story
from tests.studio_rig import Studio
from tests.tiny_checkpoints import write_tiny_checkpoints


@pytest.fixture
def house(story: Story, settings: Settings) -> House:
    return House(story, settings)


@pytest.fixture(scope="module")
def controls() -> tuple[str, ...]:
    """What the studio's generator can be told beside the style; a module may have its own."""
    return ()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, controls: tuple[str, ...]) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    with Studio.opened(folder, write_tiny_checkpoints(folder / "cards", controls)) as made:
        yield made
