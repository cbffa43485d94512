"""Cold storage: restores of frozen archives, changes of class, locks, versions and tags.

Revision: 0011, after 0010.

An archive's record says which version of its object it is, since when that is stored in its class, and what keeps it
from being removed. No table is rewritten; existing archives have NULL there, which means that it is unknown.

Not CONCURRENTLY, which cannot be part of a transaction: uploads wait for the index of `files`, by which costs are
summed up, readers do not.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TYPES = ("class", "lock", "restore", "tag", "undelete")
ADDED = (
    ("version_id", TEXT),
    ("stored_at", TIME),
    ("lock_mode", TEXT),
    ("locked_until", TIME),
    ("legal_hold", sa.Boolean()),
)
COMMENTS = {
    "restores": "What an operation of the type restore has besides",
    "class_changes": "What an operation of the type class has besides",
    "locks": "What an operation of the type lock has besides",
}


def create(table: str, *columns: "sa.Column[object]") -> None:
    """Create a sub-table of `operations`, whose rows are final."""
    op.create_table(
        table,
        sa.Column("operation_id", TEXT, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("operation_id", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.operation_id"], name=f"fk_{table}_operation_id_operations"
        ),
    )
    op.keep_final(table)  # type: ignore[attr-defined]  # see migrations/final.py
    if op.get_context().dialect.name != "sqlite":
        op.execute(f"COMMENT ON TABLE {table} IS '{COMMENTS[table]}'")


def upgrade() -> None:
    for name, kind in ADDED:
        op.add_column("files", sa.Column(name, kind))
    stored = sa.text("store IS NOT NULL AND status <> 'deleted'")
    costs = ["storage_class", "size", "member_count", "stored_at", "recorded_at", "store", "status"]
    op.create_index("ix_files_storage_class", "files", costs, sqlite_where=stored, postgresql_where=stored)
    create(
        "restores",
        sa.Column("store", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("s3_storage_class", TEXT),
        sa.Column("archive_id", TEXT),
        sa.Column("tier", TEXT),
        sa.Column("days", NUMBER),
        sa.Column("requested_at", TIME),
        sa.Column("expected_at", TIME),
        sa.Column("ready_at", TIME),
        sa.Column("expires_at", TIME),
        sa.Column("estimated_cost_micros", NUMBER),
        sa.Column("currency", TEXT),
    )
    op.create_index("ix_restores_s3_object_key", "restores", ["s3_object_key"])
    create(
        "class_changes",
        sa.Column("store", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("from_class", TEXT),
        sa.Column("to_class", TEXT),
        sa.Column("estimated_cost_micros", NUMBER),
        sa.Column("currency", TEXT),
    )
    create(
        "locks",
        sa.Column("store", TEXT),
        sa.Column("s3_object_key", TEXT),
        sa.Column("mode", TEXT),
        sa.Column("retain_until", TIME),
        sa.Column("legal_hold", sa.Boolean()),
    )
    op.allow_types("undo", *TYPES)  # type: ignore[attr-defined]


def downgrade() -> None:
    if not op.get_context().as_sql:
        listed = ", ".join(f"'{each}'" for each in TYPES)
        found = sa.text(f"SELECT 1 FROM operations WHERE operation_type IN ({listed}) LIMIT 1")
        if op.get_bind().execute(found).first():
            raise CommandError(f"the catalog contains operations that an older mgmt cannot load: {', '.join(TYPES)}")
    op.allow_types("undo")  # type: ignore[attr-defined]
    for table in ("locks", "class_changes", "restores"):
        op.drop_table(table)
    op.drop_index("ix_files_storage_class", "files")
    for name, _ in reversed(ADDED):
        op.drop_column("files", name)
