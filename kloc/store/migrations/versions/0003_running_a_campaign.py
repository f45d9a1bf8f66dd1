"""Running a campaign: gold, prefill, pauses, extra answers, verdicts, bonuses, reports"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gold", sa.Integer(), nullable=True))
    with op.batch_alter_table("hits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("purpose", sa.String(length=8), nullable=False, server_default="task"))
        batch_op.add_column(sa.Column("prefill", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("cost_mills", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("wanted", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("extra", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("expires_at", sa.Float(precision=53), nullable=True))
        batch_op.add_column(sa.Column("paused_left", sa.Float(precision=53), nullable=True))
        batch_op.add_column(sa.Column("stopped_at", sa.Float(precision=53), nullable=True))
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("seen_at", sa.Float(precision=53), nullable=True))
        batch_op.add_column(sa.Column("verdict", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("bonus_mills", sa.BigInteger(), nullable=True))
    op.create_table(
        "reports",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("handled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["token"], ["hits.token"], name=op.f("fk_reports_token_hits")),
        sa.PrimaryKeyConstraint("id", "token", name=op.f("pk_reports")),
    )
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reports_token"), ["token"], unique=False)
    # What is there was asked for as often as it says. An answer's price is what was booked for one; where none was
    # booked yet, its share of what is reserved.
    op.execute("UPDATE hits SET wanted = max_assignments")
    op.execute(
        """
        UPDATE hits SET cost_mills = coalesce(
            (SELECT max(amount_mills) FROM ledger WHERE ledger.token = hits.token AND kind = 'committed'),
            (SELECT sum(CASE kind WHEN 'reserved' THEN amount_mills WHEN 'released' THEN -amount_mills ELSE 0 END)
             / max_assignments FROM ledger WHERE ledger.token = hits.token),
            reward_mills)
        """
    )
    op.execute("UPDATE hits SET cost_mills = reward_mills WHERE cost_mills < reward_mills")


def downgrade() -> None:
    op.drop_table("reports")
    for table, columns in {
        "assignments": ("seen_at", "verdict", "bonus_mills"),
        "hits": ("purpose", "prefill", "cost_mills", "wanted", "extra", "expires_at", "paused_left", "stopped_at"),
        "videos": ("gold",),
    }.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.drop_column(column)
