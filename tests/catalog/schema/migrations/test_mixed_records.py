"""Revision 0007 separates records that several archives of one key shared, on both databases."""

from sqlalchemy import text

from mgmt.catalog import Catalog
from mgmt.catalog.schema import migrate

FACTS = """
INSERT INTO operations (operation_id, operation_type, started_at, completed_at, status, metadata, command_args, seq)
VALUES ('u1', 'upload', '2024-01-01 00:00:00', '2024-01-01 00:00:01', 'running', '{}', '{}', 1),
       ('u2', 'upload', '2024-01-02 00:00:00', '2024-01-02 00:00:01', 'running', '{}', '{}', 2),
       ('u3', 'upload', '2024-01-03 00:00:00', '2024-01-03 00:00:01', 'running', '{}', '{"xattrs": true}', 3),
       ('u4', 'upload', '2024-01-04 00:00:00', '2024-01-04 00:00:01', 'running', '{}', '{}', 4);
INSERT INTO uploads (operation_id, compression_type, s3_object_key, store, digest, compressed_size, proof, archive_id)
VALUES ('u1', 'gzip', 'a.tar.gz', 'file:///s', 'one', 10, 'read-back', NULL),
       ('u2', 'gzip', 'a.tar.gz', 'file:///s', 'one', 10, 'read-back', NULL),
       ('u3', 'gzip', 'a.tar.gz', 'file:///s', 'two', 20, 'read-back', 'begun before'),
       ('u4', 'gzip', 'b.tar.gz', 'file:///s', 'two', 20, 'read-back', 'begun before');
INSERT INTO files (id, name, path, location, store, is_directory, tags, status, s3_object_key, digest, operation_id,
    recorded_at)
VALUES (1, 'a.tar.gz', 'a.tar.gz', 's3', 'file:///s', {false}, '{}', 'completed', 'a.tar.gz', 'two', 'u3',
        '2024-01-03 00:00:01'),
       (2, 'b.tar.gz', 'b.tar.gz', 's3', 'file:///s', {false}, '{}', 'completed', 'b.tar.gz', 'two', 'u4',
        '2024-01-04 00:00:01');
INSERT INTO operation_files (operation_id, file_id, role)
VALUES ('u1', 1, 'archive'), ('u2', 1, 'archive'), ('u3', 1, 'archive'), ('u4', 2, 'archive');
"""


def fill(catalog: Catalog) -> None:
    false = "0" if catalog.database.is_sqlite else "false"
    with catalog.database.migrating() as connection:
        for statement in FACTS.replace("{false}", false).split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        if not catalog.database.is_sqlite:
            connection.execute(text("SELECT setval(pg_get_serial_sequence('files', 'id'), 2)"))


def test_upgrade_gives_each_archive_of_a_reused_key_its_own_record(catalog: Catalog) -> None:
    migrate.upgrade(catalog.database, "0006")
    fill(catalog)
    migrate.upgrade(catalog.database)
    columns = "path, status, digest, archive_id, kept, size, proof, operation_id"
    with catalog.database.connection() as connection:
        found = [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM files ORDER BY id"))]
    assert found == [
        ("a.tar.gz", "completed", "two", None, None, None, None, "u3"),
        ("b.tar.gz", "completed", "two", "begun before", "", None, None, "u4"),
        ("a.tar.gz", "deleted", "one", "u1", "", 10, "read-back", "u1"),
    ]
    assert [(each.path, each.status) for each in catalog.metadata.find("a.tar.gz")] == [("a.tar.gz", "completed")]
    migrate.downgrade(catalog.database, "0006")
    with catalog.database.connection() as connection:
        assert connection.scalar(text("SELECT count(*) FROM files")) == 2
