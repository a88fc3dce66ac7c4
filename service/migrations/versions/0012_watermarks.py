"""Credentials know the watermark of their files.

Credentials that were issued before name none: their files carry no mark.

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-23 11:30:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | Sequence[str] | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.add_column("credentials", sa.Column("watermark", sa.String(length=12), nullable=True))
    op.create_index(op.f("ix_credentials_watermark"), "credentials", ["watermark"])


def downgrade() -> None:
    """Take the upgrade back: watermarks are found, and lead to no credential."""
    op.drop_index(op.f("ix_credentials_watermark"), table_name="credentials")
    op.drop_column("credentials", "watermark")
