"""Creates the old catalogs that later versions of mgmt must be able to open.

    python -m tests.catalog.old_catalogs > tests/assets/catalogs/0010.sql

This created 0010.sql when 0010 was the newest revision; the other files were created in the same way. They contain two
uploads (one with a name that is not UTF-8), a failed download, an interrupted upload, and an archive of four members;
0002.sql has the index of their names, later ones their ranges, from 0005.sql on finished operations are sealed, and
from 0007.sql on there is a search, with its results from 0008.sql on; 0010.sql has work that waits. The files never
change: each revision that changes a table adds one, before the change.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing

from mgmt.catalog import open_catalog
from mgmt.catalog.audit.canonical import canonical_rows
from mgmt.catalog.schema import migrate

ROWS = r"""
INSERT INTO operations (operation_id, operation_type, target_path, target_path_bytes, target_name, target_name_bytes,
    started_at, completed_at, status, error_message, metadata, user, command_args, seq, claim, owner, host,
    mgmt_version)
VALUES
    ('11111111-0000-4000-8000-000000000001', 'upload', '/films/Étude.mkv', NULL, 'Étude.mkv', NULL,
     '2024-02-29 23:59:59.123456', '2024-03-01 00:01:29.123456', 'success', NULL, '{"note": "first"}', 'ann',
     '{"level": "fast"}', 1, '/films/Étude.mkv', 'nas/boot/17/4711', 'nas', '0.1.0'),
    ('11111111-0000-4000-8000-000000000002', 'upload', '/films/caf\xe9', X'2F66696C6D732F636166E9', 'caf\xe9',
     X'636166E9', '2024-03-02 10:00:00.000000', '2024-03-02 10:00:10.500000', 'success', NULL, '{}', 'ann', '{}', 2,
     '/films/caf\xe9', 'nas/boot/18/4712', 'nas', '0.1.0'),
    ('11111111-0000-4000-8000-000000000003', 'download', '/films/Étude.mkv', NULL, 'Étude.mkv', NULL,
     '2024-03-03 10:00:00.000000', '2024-03-03 10:00:01.000000', 'failed', 'the store said no', '{}', 'bob', '{}', 3,
     NULL, 'nas/boot/19/4713', 'nas', '0.1.0'),
    ('11111111-0000-4000-8000-000000000004', 'upload', '/films/cut off', NULL, 'cut off', NULL,
     '2024-03-04 10:00:00.000000', NULL, 'running', NULL, '{}', 'bob', '{}', 4,
     '/films/cut off', 'nas/boot/20/4714', 'nas', '0.1.0');
INSERT INTO uploads (operation_id, compression_type, original_size, compressed_size, s3_object_key, digest, store)
VALUES
    ('11111111-0000-4000-8000-000000000001', 'gzip', 1000, 370, 'Étude.mkv.tar.gz', 'd1', 'file:///store'),
    ('11111111-0000-4000-8000-000000000002', 'gzip', 5000000000, 4999999999, 'caf.tar.gz', 'd2', 'file:///store'),
    ('11111111-0000-4000-8000-000000000004', 'gzip', NULL, NULL, 'cut off.tar.gz', NULL, 'file:///store');
INSERT INTO downloads (operation_id, s3_object_key, local_path)
VALUES ('11111111-0000-4000-8000-000000000003', 'Étude.mkv.tar.gz', '/back');
INSERT INTO files (id, name, path, path_bytes, name_bytes, location, host, store, size, is_directory, tags, status,
    s3_object_key, operation_id, recorded_at)
VALUES
    (1, 'Étude.mkv.tar.gz', 'Étude.mkv.tar.gz', NULL, NULL, 's3', NULL, 'file:///store', 370, 0, '{"who": "ann"}',
     'completed', 'Étude.mkv.tar.gz', '11111111-0000-4000-8000-000000000001', '2024-03-01 00:01:29.000000'),
    (2, 'caf.tar.gz', 'caf.tar.gz', NULL, NULL, 's3', NULL, 'file:///store', 4999999999, 0, '{}',
     'completed', 'caf.tar.gz', '11111111-0000-4000-8000-000000000002', '2024-03-02 10:00:10.000000'),
    (3, 'caf\xe9', '/films/completed/caf\xe9', X'2F66696C6D732F636F6D706C657465642F636166E9', X'636166E9', 'completed',
     'nas', NULL, 5000000000, 1, '{}', 'completed', NULL, '11111111-0000-4000-8000-000000000002',
     '2024-03-02 10:00:10.000000');
INSERT INTO operation_files (operation_id, file_id, role)
VALUES
    ('11111111-0000-4000-8000-000000000001', 1, 'archive'),
    ('11111111-0000-4000-8000-000000000002', 2, 'archive'),
    ('11111111-0000-4000-8000-000000000002', 3, 'completed');
INSERT INTO directories (id, path, path_bytes) VALUES (1, '', NULL), (2, 'caf\xe9', X'636166E9');
INSERT INTO members (id, archive_id, directory_id, name, name_bytes, type, mode, size, mtime_ns, header_offset,
    data_offset, sha256, link, link_bytes)
VALUES
    (1, 2, 1, 'caf\xe9', X'636166E9', 'd', 493, 0, 1709373600123456789, 0, 512, NULL, NULL, NULL),
    (2, 2, 2, 'Été.jpg', NULL, 'f', 420, 5, 1709373600123456789, 1024, 1536, zeroblob(32), NULL, NULL),
    (3, 2, 2, 'wedding.mov', NULL, 'f', 420, 5000000000, -1, 2048, 2560, zeroblob(32), NULL, NULL),
    (4, 2, 2, 'link', NULL, 'l', 511, 0, 0, 5000003072, 5000003584, NULL, '\xff', X'FF');
INSERT INTO endpoints (url, checksum, max_parts, probed_at)
VALUES ('http://nas:8333', 'crc64nvme', 10000, '2024-02-29 23:59:59.000000');
"""


RANGES = """
INSERT INTO member_ranges (archive_id, first_id, last_id) VALUES (2, 1, 4);
INSERT INTO directory_archives (directory_id, archive_id) VALUES (1, 2), (2, 2);
"""

SEARCH = r"""
INSERT INTO operations (operation_id, operation_type, target_path, target_name, started_at, completed_at, status,
    metadata, user, command_args, seq, host, mgmt_version)
VALUES
    ('11111111-0000-4000-8000-000000000005', 'search', 'wedding', 'wedding', '2024-03-05 10:00:00.000000',
     '2024-03-05 10:00:02.000000', 'success', '{"picked": "caf\\udce9/wedding.mov"}', 'ann', '{}', 5, 'nas', '0.1.0');
INSERT INTO searches (operation_id, keyword, location, local_matches, s3_matches, total_matches, download_selected,
    status_checked, local_paths, s3_keys, downloaded_key)
VALUES ('11111111-0000-4000-8000-000000000005', 'wedding', 'global', 1, 2, 3, 1, 0, '["/films/wedding.mov"]',
    '["caf.tar.gz", "\u00c9tude.mkv.tar.gz"]', 'caf.tar.gz');
"""

WORK = r"""
INSERT INTO operations (operation_id, operation_type, target_path, target_name, started_at, status, metadata, user,
    command_args, seq, host, mgmt_version)
VALUES
    ('11111111-0000-4000-8000-000000000006', 'verify', 'Étude.mkv', 'Étude.mkv', '2024-03-06 10:00:00.000000',
     'pending', '{}', 'ann', '{"names": ["Étude.mkv"], "folder": "/"}', 6, 'nas', '0.1.0');
INSERT INTO jobs (operation_id, command, queue, attempt, attempts, backoff_seconds, fanned_out, held, requested_at)
VALUES
    ('11111111-0000-4000-8000-000000000006', 'verify', 'any', 1, 3, 60, 0, 0, '2024-03-06 10:00:00.000000');
INSERT INTO schedules (name, cron, timezone, command, host, cwd, paused, created_at)
VALUES ('nightly', '0 2 * * *', 'UTC', '["verify", "--all"]', 'nas', '/', 0, '2024-03-06 10:00:00.000000');
"""


def hashes(path: str) -> Iterator[str]:
    """The statements that set the hashes of the finished operations in the catalog at `path`."""
    catalog = open_catalog(f"sqlite:///{path}")
    with catalog.database.connection() as connection:
        for each in canonical_rows(connection, "o.status NOT IN ('pending', 'running')", {}):
            yield f"UPDATE operations SET sha256 = X'{each.digest.hex()}' WHERE seq = {each.seq};"
    catalog.close()


def main() -> None:
    statements = f"{migrate.sql('sqlite', 'base:0010')}{ROWS}{RANGES}{SEARCH}{WORK}"
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/catalog.db")) as connection:
        connection.executescript(statements)
        finish = "\n".join(hashes(f"{folder}/catalog.db"))
        connection.executescript(finish)
        catalog = open_catalog(f"sqlite:///{folder}/catalog.db")
        catalog.audit.seal()
        catalog.close()
        row = "SELECT sequence, quote(sealed_at), quote(operations), quote(digest) FROM seals"
        [(sequence, sealed_at, operations, digest)] = connection.execute(row)
    print(statements, finish)
    print(f"INSERT INTO seals VALUES ({sequence}, {sealed_at}, {operations}, NULL, {digest});")
    print(f"UPDATE operations SET seal = {sequence} WHERE sha256 IS NOT NULL;")


if __name__ == "__main__":
    main()
