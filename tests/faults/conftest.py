"""A rig of real parts: Valkey, a relay, a worker process, SQLite, and small real checkpoints."""

from collections.abc import Iterator

import pytest

from tests.remix_rig import Rig
from tests.tiny_checkpoints import write_tiny_checkpoints


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        cards = write_tiny_checkpoints(folder / "cards")
        patch.setenv("REPRISE_CARDS", str(cards))
        with Rig(folder, cards) as made:
            yield made
