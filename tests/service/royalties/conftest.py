"""A house with a ledger per test; tests that need one database only say so."""

import pytest

from service.settings import Settings
from tests.ledger_house import Books, Clock
from tests.stories import Story


@pytest.fixture
def books(story: Story, settings: Settings) -> Books:
    return Books(story, settings)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
