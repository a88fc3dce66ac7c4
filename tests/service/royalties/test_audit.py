"""The audit finds a single changed value, wherever it stands; and is quiet when all is well."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from service.cli import app
from service.consent.models import Grant
from service.database import Base
from service.jobs.models import Job
from service.royalties.audit import audit
from service.royalties.command import audit_command, settle_command
from service.royalties.models import Entry, LedgerHead, Play, PlayCount, Posting
from service.royalties.reversal import reverse_job
from service.royalties.settlement import settle
from service.settings import Settings
from tests.ledger_house import PRICE, Books, Clock
from tests.service.royalties.intruder import intruder

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LEDGER: tuple[type[Base], ...] = (Posting, Entry, Play, PlayCount, LedgerHead)


@pytest.fixture
def kept(books: Books, clock: Clock) -> Books:
    """A ledger with everything in it: two currencies, plays with a rest, a reversal."""
    clock.set(2025, 1, 10)
    first = books.publish(books.priced())
    solo = (books.story.owner("Solo"), "recording", 1_000_000)
    yen = {**PRICE, "currency": "JPY", "recording_ppm": 1_000_000}
    second = books.publish(books.priced(solo, price=yen))
    books.publish(books.grant())
    books.play(first, 3)
    books.play(second, 1)
    clock.set(2025, 2, 10)
    settle(books.database, "2025-01")
    with books.database.transaction() as session:
        reverse_job(session, second, reason="taken down", by="olga")
    assert books.audit().differences == []
    assert [p.kind for p in books.postings()] == ["remix"] * 2 + ["plays"] * 2 + ["reversal"] * 2
    return books


def changed(value: Any, column: sa.Column[Any]) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return 7 if isinstance(column.type, sa.Integer) else "recording"
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, datetime):
        return value.replace(microsecond=(value.microsecond + 1) % 1_000_000)
    if isinstance(value, dict):
        name = sorted(value)[0]
        return {**value, name: changed(value[name], column)}
    # Another of the allowed words where a constraint lists them, the text's last letter otherwise.
    words = {
        "remix": "plays",
        "plays": "remix",
        "reversal": "remix",
        "payer": "owner",
        "platform": "owner",
        "owner": "payer",
        "recording": "composition",
        "composition": "recording",
    }
    return words.get(value, value[:-1] + ("0" if value[-1] != "0" else "1"))


@pytest.mark.attack("ledger rewritten")
def test_every_column_of_every_row_is_watched(kept: Books) -> None:
    """Each value of the ledger is changed by itself; the audit, or the database, finds it.

    All of them on SQLite; on PostgreSQL every fifth, for it is the same audit.
    """
    every = 1 if kept.database.engine.dialect.name == "sqlite" else 5
    seen = tried = refused = 0
    with kept.database.snapshot() as session:
        rows = {
            table: [dict(row) for row in session.execute(sa.select(table.__table__)).mappings()]
            for table in LEDGER
        }
    with intruder(kept.database) as session:
        for model, found in rows.items():
            table = model.__table__
            keys = list(table.primary_key.columns)
            for row in found:
                for column in table.columns:
                    seen += 1
                    if seen % every:
                        continue
                    where = [key == row[key.name] for key in keys]
                    point = session.begin_nested()
                    tried += 1
                    try:
                        session.execute(
                            sa.update(table)
                            .where(*where)
                            .values({column.name: changed(row[column.name], column)})
                        )
                    except DBAPIError:
                        # A primary key, a unique key or a check: the database itself says no.
                        refused += 1
                        point.rollback()
                        continue
                    what = f"{table.name}.{column.name} of {where}"
                    assert audit(session).differences, what
                    point.rollback()
        session.expire_all()
        assert audit(session).differences == []
    assert seen == sum(len(found) * len(t.__table__.columns) for t, found in rows.items())
    assert tried > 250 // every
    assert refused < tried // 10


@ONE
@pytest.mark.attack("ledger rewritten")
def test_every_row_that_is_gone_is_missed(kept: Books) -> None:
    with kept.database.snapshot() as session:
        rows = {
            table: [dict(row) for row in session.execute(sa.select(table.__table__)).mappings()]
            for table in LEDGER
        }
    with intruder(kept.database) as session:
        for model, found in rows.items():
            table = model.__table__
            for row in found:
                where = [key == row[key.name] for key in table.primary_key.columns]
                point = session.begin_nested()
                session.execute(sa.delete(table).where(*where))
                assert audit(session).differences, f"{table.name} {where}"
                point.rollback()


@ONE
def test_what_the_postings_rest_on_is_watched_too(kept: Books) -> None:
    """A split rewritten after it was signed, a job moved, a job published behind the ledger."""
    with intruder(kept.database) as session:
        point = session.begin_nested()
        grant = session.scalars(sa.select(Grant).order_by(Grant.created_at)).first()
        assert grant is not None
        grant.payload = grant.payload.replace(b'"ppm":333333', b'"ppm":333334')
        session.flush()
        assert {found.check for found in audit(session).differences} == {"due"}
        point.rollback()
        first = kept.postings()[0].job_id
        for values in (
            {"grant_id": "grt_other"},
            {"template_version": 2},
            {"kind": "ingest"},
            {"state": "failed"},
        ):
            point = session.begin_nested()
            session.execute(sa.update(Job).where(Job.id == first).values(**values))
            assert audit(session).differences, values
            point.rollback()
    granted = kept.priced()
    job_id, _, _ = kept.at_publish(granted)
    with intruder(kept.database) as session:
        session.execute(
            sa.update(Job)
            .where(Job.id == job_id)
            .values(state="published", reason="x", finished_at=datetime.now(UTC))
        )
        (found,) = audit(session).differences
        assert (found.check, found.row) == ("job", job_id)


@ONE
def test_a_takedown_that_was_not_paid_back_is_named(books: Books) -> None:
    """A revocation on a path that forgot the ledger, and one that did not."""
    granted = books.priced(on_revocation="takedown")
    job_id = books.publish(granted)
    books.revoke(granted)
    (found,) = books.audit().differences
    assert (found.check, found.row) == ("job", job_id)
    with books.database.transaction() as session:
        reverse_job(session, job_id, reason="taken down", by="ada")
    assert books.audit().differences == []
    kept = books.priced()
    books.publish(kept)
    books.revoke(kept)
    assert books.audit().differences == []


@ONE
@pytest.mark.attack("ledger rewritten")
def test_a_ledger_rewritten_whole_is_found_by_a_kept_head(kept: Books) -> None:
    """Cut off behind and sealed again: only who kept the head can know."""
    head = kept.audit().head
    with intruder(kept.database) as session:
        for table, column in ((Entry, Entry.posting_seq), (Posting, Posting.seq)):
            session.execute(sa.delete(table).where(column > 4))
        newest = session.get_one(Posting, 4)
        session.execute(sa.update(LedgerHead).values(seq=4, sha256=newest.sha256))
        assert audit(session).differences == []
        (found,) = audit(session, head).differences
        assert (found.check, found.row) == ("head", "posting 6")
    assert kept.audit(head).differences == []
    assert [d.check for d in kept.audit((6, "0" * 64)).differences] == ["head"]


@ONE
def test_the_command_prints_and_ends_as_it_found(
    kept: Books, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit_command(settings=settings) == 0
    told = capsys.readouterr().out
    assert "the ledger is in order" in told
    assert f"head 6:{kept.postings()[-1].sha256}" in told
    with kept.database.transaction() as session:
        session.execute(sa.text("DROP TRIGGER entries_no_update"))
        session.execute(
            sa.text("UPDATE entries SET amount = amount + 1 WHERE posting_seq = 2 AND line = 1")
        )
    assert audit_command(settings=settings) == 1
    told = capsys.readouterr().out
    assert "balance: posting 2: sums to 1" in told
    assert "the ledger differs" in told
    assert audit_command(settings=settings, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["in_order"]
    assert {found["row"] for found in document["differences"]} >= {"posting 2"}
    assert settle_command("2025-01", settings=settings) == 0
    assert "0 postings for 0 plays" in capsys.readouterr().out


@ONE
def test_the_command_line_has_both(
    kept: Books, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.royalties.command.get_settings", lambda: settings)
    run = CliRunner()
    done = run.invoke(app, ["audit", "--json"])
    assert done.exit_code == 0
    head = json.loads(done.stdout)["head"]
    same = run.invoke(app, ["audit", "--head", f"{head['seq']}:{head['sha256']}"])
    assert same.exit_code == 0
    other = run.invoke(app, ["audit", "--head", f"{head['seq']}:{'0' * 64}"])
    assert other.exit_code == 1
    assert run.invoke(app, ["audit", "--head", "nonsense"]).exit_code == 1
    assert run.invoke(app, ["settle", "2025-01"]).exit_code == 0
    assert run.invoke(app, ["settle", "2999-01"]).exit_code == 1
