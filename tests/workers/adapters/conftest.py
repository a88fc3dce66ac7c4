"""One atelier a module: training is quick, but every home has a database of its own."""

from collections.abc import Iterator

import pytest

from tests.adapter_rig import Atelier
from tests.stories import Owner
from tests.tiny_checkpoints import write_tiny_checkpoints


@pytest.fixture(scope="module")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atelier]:
    folder = tmp_path_factory.mktemp("atelier")
    with Atelier.opened(folder, write_tiny_checkpoints(folder / "cards")) as made:
        yield made


@pytest.fixture
def ada(atelier: Atelier) -> Owner:
    return atelier.story.owner("Adelheid Musterfrau")


@pytest.fixture
def label(atelier: Atelier) -> Owner:
    return atelier.story.owner("Kleines Label", "label")
