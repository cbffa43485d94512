"""Work that runs by itself: jobs, what they wait for, schedules, notifications, and operations that undo others.

Revision: 0010, after 0009.

The four new tables hold what is left to do and no history. An operation says which one it repeats, who has asked it to
stop, and, while it runs, how far it is. No table is rewritten; finished operations have NULL in the new columns, and
NULL is no part of a hash.

Not CONCURRENTLY, which cannot be part of a transaction: uploads wait for the index of `retry_of`, readers do not.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

ADDED = (
    ("retry_of", TEXT),
    ("cancel_requested_by", TEXT),
    ("done_bytes", NUMBER),
    ("total_bytes", NUMBER),
    ("bytes_per_second", NUMBER),
)
COMMENTS = {
    "undos": "What an operation of the type undo has besides",
    "jobs": "How and when operations that have not finished are to be run",
    "job_dependencies": "The operations that must succeed before a job runs",
    "schedules": "Commands to run at certain times",
    "outbox": "Notifications to deliver",
}
COLUMNS = (
    *("operation_id", "operation_type", "target_path", "target_path_bytes", "target_name", "target_name_bytes"),
    *("started_at", "completed_at", "status", "result_path", "result_path_bytes", "error_message", "metadata", "user"),
    *("command_args", "seq", "parent_id", "stage", "claim", "owner", "heard_at", "host", "mgmt_version"),
)
"""The columns of operations at revision 0009 that are hashed."""


def keep_operations(columns: tuple[str, ...]) -> None:
    """On SQLite, refuse changes of these columns of a finished operation. PostgreSQL compares whole rows."""
    listed = ", ".join(f'"{each}"' for each in columns)
    op.execute("DROP TRIGGER operations_update")
    op.execute(
        f"CREATE TRIGGER operations_update BEFORE UPDATE OF {listed} ON operations "
        "WHEN OLD.status NOT IN ('pending', 'running')\n"
        "BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END"
    )


def upgrade() -> None:
    for name, kind in ADDED:
        op.add_column("operations", sa.Column(name, kind))
    op.create_index("ix_operations_retry_of", "operations", ["retry_of"])
    if op.get_context().dialect.name == "sqlite":
        keep_operations((*COLUMNS, *(name for name, _ in ADDED)))
    op.create_table(
        "undos",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("undo_of", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name="pk_undos"),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.operation_id"], name="fk_undos_operation_id_operations"),
    )
    op.create_index("ix_undos_undo_of", "undos", ["undo_of"])
    op.keep_final("undos")  # type: ignore[attr-defined]  # see migrations/final.py
    op.allow_types("undo")  # type: ignore[attr-defined]
    op.create_table(
        "jobs",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("command", TEXT, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("host", TEXT),
        sa.Column("store", TEXT),
        sa.Column("not_before", TIME),
        sa.Column("attempt", NUMBER, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("backoff_seconds", NUMBER, nullable=False),
        sa.Column("taken_by", TEXT),
        sa.Column("fanned_out", sa.Boolean(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("template", TEXT),
        sa.Column("schedule", TEXT),
        sa.Column("requested_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.operation_id"], name="fk_jobs_operation_id_operations"),
    )
    op.create_index("ix_jobs_queue_host", "jobs", ["queue", "host"])
    op.create_table(
        "job_dependencies",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("after_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "after_id", name="pk_job_dependencies"),
        sa.ForeignKeyConstraint(["operation_id"], ["jobs.operation_id"], name="fk_job_dependencies_operation_id_jobs"),
    )
    op.create_index("ix_job_dependencies_after_id", "job_dependencies", ["after_id"])
    op.create_table(
        "schedules",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("cron", TEXT, nullable=False),
        sa.Column("timezone", TEXT, nullable=False),
        sa.Column("command", sa.JSON(), nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("cwd", TEXT, nullable=False),
        sa.Column("queue", TEXT),
        sa.Column("store", TEXT),
        sa.Column("user", TEXT),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_time", TIME),
        sa.Column("last_operation_id", TEXT),
        sa.PrimaryKeyConstraint("name", name="pk_schedules"),
    )
    op.create_table(
        "outbox",
        sa.Column("message_id", TEXT, nullable=False),
        sa.Column("rule", TEXT, nullable=False),
        sa.Column("event", TEXT, nullable=False),
        sa.Column("operation_id", TEXT),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_try_at", TIME, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("delivered_at", TIME),
        sa.Column("given_up", sa.Boolean(), nullable=False),
        sa.Column("error", TEXT),
        sa.Column("host", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_delivered_at_next_try_at", "outbox", ["delivered_at", "next_try_at"])
    if op.get_context().dialect.name != "sqlite":
        for table, comment in COMMENTS.items():
            op.execute(f"COMMENT ON TABLE {table} IS '{comment}'")


HASHED = (
    "SELECT 1 FROM operations WHERE operation_type = 'undo' OR sha256 IS NOT NULL AND "
    "coalesce(retry_of, cancel_requested_by) IS NOT NULL LIMIT 1"
)


def downgrade() -> None:
    if not op.get_context().as_sql:
        if op.get_bind().execute(sa.text(HASHED)).first():
            raise CommandError("the catalog contains undone, retried or cancelled operations, unknown to an older mgmt")
        if op.get_bind().execute(sa.text("SELECT 1 FROM jobs LIMIT 1")).first():
            raise CommandError(
                "work is waiting, of which an older mgmt knows nothing: run it, or mgmt cancel it, first"
            )
        if op.get_bind().execute(sa.text("SELECT 1 FROM schedules LIMIT 1")).first():
            raise CommandError("there are schedules, of which an older mgmt knows nothing: mgmt schedule rm them first")
    op.drop_table("outbox")
    op.drop_table("schedules")
    op.drop_table("job_dependencies")
    op.drop_table("jobs")
    op.allow_types()  # type: ignore[attr-defined]
    op.drop_table("undos")
    op.drop_index("ix_operations_retry_of", "operations")
    if op.get_context().dialect.name == "sqlite":
        keep_operations(COLUMNS)
    for name, _ in reversed(ADDED):
        op.drop_column("operations", name)
