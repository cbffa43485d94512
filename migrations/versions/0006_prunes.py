"""What was pruned: operations that were exported and removed.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "prunes",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("ended_before", TIME, nullable=False),
        sa.Column("removed_count", BIG, nullable=False),
        sa.Column("removed", TEXT, nullable=False),
        sa.Column("export_size", BIG),
        sa.Column("export_sha256", TEXT),
        sa.PrimaryKeyConstraint("operation_id", name="pk_prunes"),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.operation_id"], name="fk_prunes_operation_id_operations"
        ),
    )
    if op.get_context().dialect.name == "sqlite":
        old, new = "OLD.operation_id", "NEW.operation_id"
        for event, ids in (("delete", old), ("insert", new), ("update", f"{old}, {new}")):
            op.execute(
                f"CREATE TRIGGER prunes_{event} BEFORE {event.upper()} ON prunes WHEN EXISTS "
                f"(SELECT 1 FROM operations WHERE operation_id IN ({ids}) AND sha256 IS NOT NULL)\n"
                "BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER prunes_keep BEFORE INSERT OR DELETE OR UPDATE ON prunes "
            "FOR EACH ROW EXECUTE FUNCTION mgmt_keep_facts()"
        )
        op.execute(
            "CREATE TRIGGER prunes_truncate BEFORE TRUNCATE ON prunes FOR EACH STATEMENT EXECUTE FUNCTION mgmt_refuse()"
        )


def downgrade() -> None:
    pruned = sa.text("SELECT 1 FROM operations WHERE operation_type = 'prune' LIMIT 1")
    if not op.get_context().as_sql and op.get_bind().execute(pruned).first():
        raise CommandError("operations were pruned, which an older mgmt would take for tampering")
    op.drop_table("prunes")
