"""The ledger: postings with their entries, plays, and the head of the chain.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-23 03:45:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

GENESIS = "0" * 64
APPEND_ONLY = ("postings", "entries", "plays")
FUNCTIONS = (
    "ledger_append_only",
    "ledger_entry_before_posting",
    "ledger_posting_balances",
    "ledger_published_is_posted",
)


def upgrade() -> None:
    """Upgrade the schema."""
    head = op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_ledger_head_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_head")),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "sha256": GENESIS}])
    op.create_table(
        "postings",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("basis", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.CheckConstraint("kind IN ('remix', 'plays', 'reversal')", name=op.f("ck_postings_kind")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_postings_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_postings_template_versions",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_postings")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_postings_idempotency_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_postings_sha256")),
    )
    op.create_index(op.f("ix_postings_job_id"), "postings", ["job_id"], unique=False)
    op.create_index(op.f("ix_postings_period"), "postings", ["period"], unique=False)
    op.create_table(
        "entries",
        sa.Column("posting_seq", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(length=300), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=True),
        sa.Column("ppm", sa.Integer(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('payer', 'platform', 'owner')", name=op.f("ck_entries_role")),
        sa.CheckConstraint(
            "side IS NULL OR side IN ('recording', 'composition')", name=op.f("ck_entries_side")
        ),
        sa.ForeignKeyConstraint(
            ["posting_seq"],
            ["postings.seq"],
            name=op.f("fk_entries_posting_seq_postings"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("posting_seq", "line", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_account", "entries", ["account", "posting_seq"], unique=False)
    op.create_table(
        "plays",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("play_id", sa.String(length=64), nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_plays_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "subject", "play_id", name=op.f("pk_plays")),
        sa.UniqueConstraint("job_id", "subject", "hour", "slot", name=op.f("uq_plays_job_id")),
    )
    op.create_index(op.f("ix_plays_period"), "plays", ["period"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _postgres_triggers()
    else:
        _sqlite_triggers()


def downgrade() -> None:
    """Take the upgrade back."""
    postgres = op.get_bind().dialect.name == "postgresql"
    op.execute(f"DROP TRIGGER jobs_published_is_posted{' ON jobs' if postgres else ''}")
    op.drop_index(op.f("ix_plays_period"), table_name="plays")
    op.drop_table("plays")
    op.drop_index("ix_entries_account", table_name="entries")
    op.drop_table("entries")
    op.drop_index(op.f("ix_postings_period"), table_name="postings")
    op.drop_index(op.f("ix_postings_job_id"), table_name="postings")
    op.drop_table("postings")
    op.drop_table("ledger_head")
    if postgres:
        for name in FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}()")


def _sqlite_triggers() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"""CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}
                BEGIN SELECT RAISE(ABORT, '{table} never change'); END"""
            )
    op.execute(
        """CREATE TRIGGER entries_before_posting BEFORE INSERT ON entries
        WHEN EXISTS (SELECT 1 FROM postings WHERE seq = NEW.posting_seq)
        BEGIN SELECT RAISE(ABORT, 'the posting is closed'); END"""
    )
    op.execute(
        """CREATE TRIGGER postings_balance BEFORE INSERT ON postings
        WHEN COALESCE((SELECT SUM(amount) FROM entries WHERE posting_seq = NEW.seq), 1) <> 0
        BEGIN SELECT RAISE(ABORT, 'the entries do not sum to zero'); END"""
    )
    op.execute(
        """CREATE TRIGGER jobs_published_is_posted BEFORE UPDATE OF state ON jobs
        WHEN NEW.state = 'published' AND OLD.state <> 'published' AND NEW.kind = 'remix'
        AND EXISTS (SELECT 1 FROM template_versions v WHERE v.template_id = NEW.template_id
            AND v.version = NEW.template_version AND json_type(v.terms, '$.price') = 'object')
        AND NOT EXISTS (SELECT 1 FROM postings p WHERE p.idempotency_key = 'remix:' || NEW.id)
        BEGIN SELECT RAISE(ABORT, 'a priced remix is published with its posting'); END"""
    )


def _postgres_triggers() -> None:
    bodies = {
        "ledger_append_only": """BEGIN RAISE EXCEPTION '% never change', TG_TABLE_NAME
            USING ERRCODE = 'check_violation'; END""",
        "ledger_entry_before_posting": """BEGIN
            IF EXISTS (SELECT 1 FROM postings WHERE seq = NEW.posting_seq) THEN
            RAISE EXCEPTION 'the posting is closed' USING ERRCODE = 'check_violation'; END IF;
            RETURN NEW; END""",
        "ledger_posting_balances": """BEGIN
            IF COALESCE((SELECT SUM(amount) FROM entries WHERE posting_seq = NEW.seq), 1) <> 0
            THEN RAISE EXCEPTION 'the entries do not sum to zero'
            USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END""",
        "ledger_published_is_posted": """BEGIN
            IF EXISTS (SELECT 1 FROM template_versions v
            WHERE v.template_id = NEW.template_id AND v.version = NEW.template_version
            AND json_typeof(v.terms -> 'price') = 'object')
            AND NOT EXISTS (SELECT 1 FROM postings p WHERE p.idempotency_key = 'remix:' || NEW.id)
            THEN RAISE EXCEPTION 'a priced remix is published with its posting'
            USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END""",
    }
    for name in FUNCTIONS:
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {bodies[name]} $$"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"""CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION ledger_append_only()"""
        )
        op.execute(
            f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"""
        )
    op.execute(
        """CREATE TRIGGER entries_before_posting BEFORE INSERT ON entries
        FOR EACH ROW EXECUTE FUNCTION ledger_entry_before_posting()"""
    )
    op.execute(
        """CREATE TRIGGER postings_balance BEFORE INSERT ON postings
        FOR EACH ROW EXECUTE FUNCTION ledger_posting_balances()"""
    )
    op.execute(
        """CREATE TRIGGER jobs_published_is_posted BEFORE UPDATE OF state ON jobs FOR EACH ROW
        WHEN (NEW.state = 'published' AND OLD.state <> 'published' AND NEW.kind = 'remix')
        EXECUTE FUNCTION ledger_published_is_posted()"""
    )
