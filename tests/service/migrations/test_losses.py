"""0008 with rows from before: grants stay as they were, in the generation that they had."""

import pytest
import sqlalchemy as sa
from alembic import command

from service.consent.models import TrainingGrant
from service.database import Database
from service.migrations import configuration, migrate
from tests.service.migrations.test_keys import ROWS, rows


@pytest.fixture
def older(database: Database) -> Database:
    """A database of the version before, with a training grant."""
    command.downgrade(configuration(database), "0007")
    with database.engine.begin() as connection:
        for table in ("parties", "training_grants"):
            columns = ", ".join(ROWS[table])
            marks = ", ".join(f":{name}" for name in ROWS[table])
            connection.execute(
                sa.text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"),  # noqa: S608
                ROWS[table],
            )
    return database


def test_no_loss_is_counted_for_what_was_before(older: Database) -> None:
    migrate(older)
    with older.snapshot() as session:
        grant = session.get_one(TrainingGrant, "tgr_1")
        assert (grant.generation, grant.losses, grant.signed_generation) == (1, 0, 1)
    with older.transaction() as session:
        grant = session.get_one(TrainingGrant, "tgr_1")
        grant.generation, grant.losses = 3, 2
    command.downgrade(configuration(older), "0007")
    assert rows(older, "SELECT generation, state FROM training_grants") == [(3, "open")]
    migrate(older)
    with older.snapshot() as session:
        # What a loss closed under the newer program stays shut after the way back.
        assert session.get_one(TrainingGrant, "tgr_1").signed_generation == 3
