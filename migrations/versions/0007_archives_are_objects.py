"""An archive is one object, and a content is what it holds.

Revision: 0007, after 0006.

A key is used again after its archive was deleted. Until now the record of the old archive became that of the new one,
members included. From here on a record is one archive: it carries the object's own id, a deleted one stays as it was,
and a new one under its key has a record and members of its own. Of archives whose records were mixed, the former ones
get their records back, as deleted; whose the members are cannot be told here, so such a record has no id until
`mgmt verify` or `mgmt db rebuild` has compared it with its index.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
STORED, LIVE = "store IS NOT NULL", "store IS NOT NULL AND status <> 'deleted'"

MIXED = (
    "uploads u JOIN operations o ON o.operation_id = u.operation_id "
    "JOIN operation_files l ON l.operation_id = u.operation_id AND l.role = 'archive' "
    "JOIN files f ON f.id = l.file_id AND f.store IS NOT NULL AND f.digest <> u.digest"
)
FORMER = f"""
INSERT INTO files (name, path, location, store, s3_bucket, s3_object_key, storage_class, size, is_directory, mime_type,
    tags, status, etag, checksum, object_checksum, index_key, digest, original_size, proof, archive_id, operation_id,
    recorded_at)
SELECT f.name, f.path, f.location, f.store, f.s3_bucket, f.s3_object_key, u.s3_storage_class, u.compressed_size,
    f.is_directory, f.mime_type, {{no_tags}}, 'deleted', u.checksum_s3_etag, u.checksum_compressed,
    u.checksum_compressed, u.index_key, u.digest, u.original_size, u.proof, coalesce(u.archive_id, u.operation_id),
    u.operation_id, coalesce(o.completed_at, o.started_at)
FROM {MIXED}
WHERE NOT EXISTS (
    SELECT 1 FROM uploads e JOIN operations p ON p.operation_id = e.operation_id
    JOIN operation_files k ON k.operation_id = e.operation_id AND k.role = 'archive'
    WHERE k.file_id = f.id AND e.digest = u.digest AND p.seq < o.seq)
ORDER BY o.seq
"""
NAMED = f"""
UPDATE files SET archive_id = (
    SELECT coalesce(u.archive_id, u.operation_id) FROM uploads u WHERE u.operation_id = files.operation_id)
WHERE store IS NOT NULL AND archive_id IS NULL AND id NOT IN (SELECT f.id FROM {MIXED})
"""
NOTHING_BESIDES = """
UPDATE files SET kept = '' WHERE operation_id IN (
    SELECT operation_id FROM operations WHERE operation_type = 'upload'
    AND CAST(command_args AS TEXT) NOT LIKE '%"xattrs"%' AND CAST(command_args AS TEXT) NOT LIKE '%"owners"%')
"""
UNTOLD = "status = 'deleted' AND id NOT IN (SELECT file_id FROM operation_files)"


def upgrade() -> None:
    op.add_column("files", sa.Column("archive_id", TEXT))
    op.add_column("files", sa.Column("kept", TEXT))
    op.add_column("uploads", sa.Column("kept", TEXT))
    # Not CONCURRENTLY, which cannot be part of a transaction: from the first statement to the commit others wait.
    op.drop_index("ix_files_store_path", "files")
    keys_in_use(LIVE)
    op.execute(NAMED)
    is_sqlite = op.get_context().dialect.name == "sqlite"
    op.execute(FORMER.format(no_tags="'{}'" if is_sqlite else "CAST('{}' AS JSON)"))
    op.execute(NOTHING_BESIDES)


def downgrade() -> None:
    twice = f"SELECT 1 FROM files WHERE {STORED} AND NOT ({UNTOLD}) GROUP BY store, path HAVING count(*) > 1 LIMIT 1"
    if not op.get_context().as_sql and op.get_bind().execute(sa.text(twice)).first():
        raise CommandError("keys were used again for other archives, which an older mgmt would take for one another")
    op.execute(
        f"DELETE FROM files WHERE {STORED} AND {UNTOLD} AND EXISTS (SELECT 1 FROM files g WHERE g.store = files.store "
        "AND g.path = files.path AND g.id <> files.id)"
    )
    op.drop_index("ix_files_store_path", "files")
    keys_in_use(STORED)
    op.drop_column("uploads", "kept")
    op.drop_column("files", "kept")
    op.drop_column("files", "archive_id")


def keys_in_use(condition: str) -> None:
    where = sa.text(condition)
    op.create_index(
        "ix_files_store_path", "files", ["store", "path"], unique=True, sqlite_where=where, postgresql_where=where
    )
