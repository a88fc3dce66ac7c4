"""Tables of the ledger: postings with their entries, plays, and what they are counted against.

Postings, entries and plays are only ever added to, and the database itself holds that: triggers
refuse a change, an entry for a posting that is there already, a posting whose entries do not sum to
zero, and the publication of a priced remix that has no posting.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base
from service.jobs import models as jobs
from service.templates import models as templates

__all__ = ["GENESIS", "Entry", "LedgerHead", "Play", "PlayCount", "PlayHour", "Posting"]

# The foreign keys below name these rooms' tables.
BELOW = (jobs, templates)

GENESIS = "0" * 64
"""What the first posting names as the hash before it, and the digest over no plays."""


class LedgerHead(Base):
    """The newest posting's number and hash, in one row whose lock makes the chain linear."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))


class Posting(Base):
    """One balanced fact: a remix was published, its plays of a period earned, or one is taken back.

    `idempotency_key` is what it is the posting of (`remix:job_…`, `plays:job_…:2026-11`,
    `reversal:17`), so that nothing is posted twice. `basis` holds the figures it was computed from:
    the grant's SHA-256 and the price; for plays their number, digest and the carried thousandths of
    a minor unit; for a reversal the posting it negates, who asked for it and why. `sha256` covers
    the hash before it and everything else here, entries included.
    """

    __tablename__ = "postings"
    __table_args__ = (
        CheckConstraint("kind IN ('remix', 'plays', 'reversal')", name="kind"),
        ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_postings_template_versions",
        ),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    template_id: Mapped[str] = mapped_column(String(40))
    template_version: Mapped[int]
    # No foreign key: its check would wait for a publication or a revocation that holds the grant,
    # and that waits for the ledger's head. The audit looks instead.
    grant_id: Mapped[str] = mapped_column(String(40))
    period: Mapped[str] = mapped_column(String(7), index=True)
    currency: Mapped[str] = mapped_column(String(3))
    idempotency_key: Mapped[str] = mapped_column(String(64), unique=True)
    basis: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime]
    previous_sha256: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)

    @property
    def template(self) -> str:
        """`tpl_…@3`."""
        return f"{self.template_id}@{self.template_version}"


class Entry(Base):
    """A line of a posting: `amount` minor units for an account; a posting's lines sum to zero.

    Positive is owed to the account, negative is owed by it. Accounts are names: `party:<id>`,
    `platform`, `receivable:<the app that asked>`. `ppm` is the party's share of its
    `side`, or the platform's fee. Written before its posting, which closes it.
    """

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint("role IN ('payer', 'platform', 'owner')", name="role"),
        CheckConstraint("side IS NULL OR side IN ('recording', 'composition')", name="side"),
        Index("ix_entries_account", "account", "posting_seq"),
    )

    posting_seq: Mapped[int] = mapped_column(
        ForeignKey("postings.seq", deferrable=True, initially="DEFERRED"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    account: Mapped[str] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(16))
    side: Mapped[str | None] = mapped_column(String(16))
    ppm: Mapped[int | None]
    amount: Mapped[int] = mapped_column(BigInteger)


class Play(Base):
    """A remix that a listener heard, as the app says.

    The primary key counts it once. Places of an hour are numbered from 0, and the unique constraint
    keeps concurrent requests within the bound.
    """

    __tablename__ = "plays"
    __table_args__ = (UniqueConstraint("job_id", "subject", "hour", "slot"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    play_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    period: Mapped[str] = mapped_column(String(7), index=True)
    hour: Mapped[str] = mapped_column(String(13))
    slot: Mapped[int]
    at: Mapped[datetime]


class PlayCount(Base):
    """How many plays a remix has, and a digest over them: the exclusive or of their SHA-256.

    Raised with every play. The audit counts the plays again, so that one that was taken away,
    added or changed is found before it is settled, too.
    """

    __tablename__ = "play_counts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    plays: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))


class PlayHour(Base):
    """How many plays a listener has in an hour, whatever remixes they are of."""

    __tablename__ = "play_hours"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    hour: Mapped[str] = mapped_column(String(13), primary_key=True)
    plays: Mapped[int]


# (The migration carries its own copy of the statements below.)
APPEND_ONLY = ("postings", "entries", "plays")

SQLITE_TRIGGERS: dict[str, tuple[str, ...]] = {
    table: tuple(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} never change'); END"
        for verb in ("UPDATE", "DELETE")
    )
    for table in APPEND_ONLY
}
SQLITE_TRIGGERS["entries"] += (
    """CREATE TRIGGER entries_before_posting BEFORE INSERT ON entries
    WHEN EXISTS (SELECT 1 FROM postings WHERE seq = NEW.posting_seq)
    BEGIN SELECT RAISE(ABORT, 'the posting is closed'); END""",
)
SQLITE_TRIGGERS["postings"] += (
    """CREATE TRIGGER postings_balance BEFORE INSERT ON postings
    WHEN COALESCE((SELECT SUM(amount) FROM entries WHERE posting_seq = NEW.seq), 1) <> 0
    BEGIN SELECT RAISE(ABORT, 'the entries do not sum to zero'); END""",
    """CREATE TRIGGER jobs_published_is_posted BEFORE UPDATE OF state ON jobs
    WHEN NEW.state = 'published' AND OLD.state <> 'published' AND NEW.kind = 'remix'
    AND EXISTS (SELECT 1 FROM template_versions v WHERE v.template_id = NEW.template_id
        AND v.version = NEW.template_version AND json_type(v.terms, '$.price') = 'object')
    AND NOT EXISTS (SELECT 1 FROM postings p WHERE p.idempotency_key = 'remix:' || NEW.id)
    BEGIN SELECT RAISE(ABORT, 'a priced remix is published with its posting'); END""",
)


def _function(name: str, body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"


POSTGRES_TRIGGERS: dict[str, tuple[str, ...]] = {
    table: (
        _function(
            "ledger_append_only",
            """BEGIN RAISE EXCEPTION '% never change', TG_TABLE_NAME
            USING ERRCODE = 'check_violation'; END""",
        ),
        f"""CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION ledger_append_only()""",
        f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()""",
    )
    for table in APPEND_ONLY
}
POSTGRES_TRIGGERS["entries"] += (
    _function(
        "ledger_entry_before_posting",
        """BEGIN IF EXISTS (SELECT 1 FROM postings WHERE seq = NEW.posting_seq) THEN
        RAISE EXCEPTION 'the posting is closed' USING ERRCODE = 'check_violation'; END IF;
        RETURN NEW; END""",
    ),
    """CREATE TRIGGER entries_before_posting BEFORE INSERT ON entries
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_before_posting()""",
)
POSTGRES_TRIGGERS["postings"] += (
    _function(
        "ledger_posting_balances",
        """BEGIN IF COALESCE((SELECT SUM(amount) FROM entries WHERE posting_seq = NEW.seq), 1) <> 0
        THEN RAISE EXCEPTION 'the entries do not sum to zero'
        USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END""",
    ),
    """CREATE TRIGGER postings_balance BEFORE INSERT ON postings
    FOR EACH ROW EXECUTE FUNCTION ledger_posting_balances()""",
    _function(
        "ledger_published_is_posted",
        """BEGIN IF EXISTS (SELECT 1 FROM template_versions v WHERE v.template_id = NEW.template_id
        AND v.version = NEW.template_version AND json_typeof(v.terms -> 'price') = 'object')
        AND NOT EXISTS (SELECT 1 FROM postings p WHERE p.idempotency_key = 'remix:' || NEW.id)
        THEN RAISE EXCEPTION 'a priced remix is published with its posting'
        USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END""",
    ),
    """CREATE TRIGGER jobs_published_is_posted BEFORE UPDATE OF state ON jobs FOR EACH ROW
    WHEN (NEW.state = 'published' AND OLD.state <> 'published' AND NEW.kind = 'remix')
    EXECUTE FUNCTION ledger_published_is_posted()""",
)


def _install(dialect: str, triggers: dict[str, tuple[str, ...]]) -> None:
    for table, statements in triggers.items():
        for statement in statements:
            # DDL formats with `%`.
            escaped = DDL(statement.replace("%", "%%")).execute_if(dialect=dialect)
            event.listen(Base.metadata.tables[table], "after_create", escaped)


_install("sqlite", SQLITE_TRIGGERS)
_install("postgresql", POSTGRES_TRIGGERS)
