"""What `reprise bench ledger` measures by the ten thousand: a few, on both databases."""

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from service.bench import ledger
from service.cli import app
from service.database import Database
from service.royalties.models import Posting
from service.settings import Settings


def test_half_are_remixes_and_half_their_plays(database: Database, settings: Settings) -> None:
    paces = ledger.measure(database, settings, 12)
    assert {name: pace.postings for name, pace in paces.items()} == {
        "post": 6,
        "settle": 6,
        "audit": 12,
    }
    assert all(pace.per_second > 0 for pace in paces.values())
    with database.snapshot() as session:
        kinds = session.execute(
            sa.select(Posting.kind, sa.func.count()).group_by(Posting.kind)
        ).tuples()
        assert dict(kinds.all()) == {"remix": 6, "plays": 6}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_ledger_that_differs_is_no_measurement(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "seal", lambda **_: 1)
    with pytest.raises(RuntimeError, match="plays"):
        ledger.measure(database, settings, 2)


def test_the_command_is_there() -> None:
    told = CliRunner().invoke(app, ["bench", "ledger", "--help"])
    assert told.exit_code == 0
    assert "--postings" in told.output
