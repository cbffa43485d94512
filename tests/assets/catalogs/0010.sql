BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE operations (
    operation_id TEXT NOT NULL, 
    operation_type TEXT NOT NULL, 
    target_path TEXT, 
    target_path_bytes BLOB, 
    target_name TEXT, 
    target_name_bytes BLOB, 
    started_at DATETIME NOT NULL, 
    completed_at DATETIME, 
    status VARCHAR(16) NOT NULL, 
    result_path TEXT, 
    result_path_bytes BLOB, 
    error_message TEXT, 
    metadata JSON NOT NULL, 
    user TEXT, 
    command_args JSON NOT NULL, 
    seq INTEGER NOT NULL, 
    parent_id TEXT, 
    stage TEXT, 
    claim TEXT, 
    owner TEXT, 
    host TEXT, 
    mgmt_version TEXT, 
    CONSTRAINT pk_operations PRIMARY KEY (operation_id), 
    CONSTRAINT uq_operations_seq UNIQUE (seq), 
    CONSTRAINT fk_operations_parent_id_operations FOREIGN KEY(parent_id) REFERENCES operations (operation_id), 
    CONSTRAINT ck_operations_status CHECK (status IN ('pending', 'running', 'success', 'failed', 'partial', 'cancelled'))
);

CREATE INDEX ix_operations_operation_type_seq ON operations (operation_type, seq);

CREATE INDEX ix_operations_status_seq ON operations (status, seq);

CREATE INDEX ix_operations_started_at ON operations (started_at);

CREATE INDEX ix_operations_target_path ON operations (target_path);

CREATE INDEX ix_operations_target_name ON operations (target_name);

CREATE INDEX ix_operations_parent_id ON operations (parent_id);

CREATE UNIQUE INDEX uq_operations_claim ON operations (claim) WHERE claim IS NOT NULL AND status IN ('pending', 'running');

CREATE TABLE uploads (
    operation_id TEXT NOT NULL, 
    compression_type TEXT NOT NULL, 
    original_size INTEGER, 
    compressed_size INTEGER, 
    s3_bucket TEXT, 
    s3_object_key TEXT, 
    s3_storage_class TEXT, 
    checksum_original TEXT, 
    checksum_compressed TEXT, 
    checksum_s3_etag TEXT, 
    completed_dir_path TEXT, 
    completed_dir_path_bytes BLOB, 
    compressed_file_path TEXT, 
    compressed_file_path_bytes BLOB, 
    store TEXT, 
    index_key TEXT, 
    archive_id TEXT, 
    requested_key TEXT, 
    upload_id TEXT, 
    part_size INTEGER, 
    parts INTEGER, 
    proof TEXT, 
    digest TEXT, 
    source_state TEXT, 
    root_ctime_ns INTEGER, 
    file_count INTEGER, 
    folder_count INTEGER, 
    link_count INTEGER, 
    skipped_count INTEGER, 
    CONSTRAINT pk_uploads PRIMARY KEY (operation_id), 
    CONSTRAINT fk_uploads_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE INDEX ix_uploads_s3_object_key ON uploads (s3_object_key);

CREATE INDEX ix_uploads_digest ON uploads (digest);

CREATE TABLE downloads (
    operation_id TEXT NOT NULL, 
    s3_bucket TEXT, 
    s3_object_key TEXT, 
    s3_storage_class TEXT, 
    local_path TEXT, 
    local_path_bytes BLOB, 
    downloaded_size INTEGER, 
    checksum_s3_etag TEXT, 
    checksum_local TEXT, 
    store TEXT, 
    member TEXT, 
    member_bytes BLOB, 
    digest TEXT, 
    CONSTRAINT pk_downloads PRIMARY KEY (operation_id), 
    CONSTRAINT fk_downloads_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE INDEX ix_downloads_s3_object_key ON downloads (s3_object_key);

CREATE TABLE searches (
    operation_id TEXT NOT NULL, 
    keyword TEXT NOT NULL, 
    keyword_bytes BLOB, 
    location VARCHAR(16) NOT NULL, 
    local_matches INTEGER NOT NULL, 
    s3_matches INTEGER NOT NULL, 
    total_matches INTEGER NOT NULL, 
    download_selected BOOLEAN NOT NULL, 
    status_checked BOOLEAN NOT NULL, 
    CONSTRAINT pk_searches PRIMARY KEY (operation_id), 
    CONSTRAINT fk_searches_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id), 
    CONSTRAINT ck_searches_location CHECK (location IN ('local', 's3', 'global'))
);

CREATE TABLE verifications (
    operation_id TEXT NOT NULL, 
    store TEXT, 
    s3_object_key TEXT, 
    proof TEXT, 
    checked_objects INTEGER NOT NULL, 
    checked_size INTEGER NOT NULL, 
    problems_found INTEGER NOT NULL, 
    CONSTRAINT pk_verifications PRIMARY KEY (operation_id), 
    CONSTRAINT fk_verifications_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE INDEX ix_verifications_s3_object_key ON verifications (s3_object_key);

CREATE TABLE files (
    id INTEGER NOT NULL, 
    name TEXT NOT NULL, 
    name_bytes BLOB, 
    path TEXT NOT NULL, 
    path_bytes BLOB, 
    location VARCHAR(16) NOT NULL, 
    host TEXT, 
    store TEXT, 
    size INTEGER, 
    is_directory BOOLEAN NOT NULL, 
    mime_type TEXT, 
    created_at DATETIME, 
    modified_at DATETIME, 
    accessed_at DATETIME, 
    checksum TEXT, 
    tags JSON NOT NULL, 
    status VARCHAR(16) NOT NULL, 
    error_message TEXT, 
    s3_bucket TEXT, 
    s3_object_key TEXT, 
    storage_class TEXT, 
    etag TEXT, 
    object_checksum TEXT, 
    index_key TEXT, 
    digest TEXT, 
    original_size INTEGER, 
    member_count INTEGER, 
    proof TEXT, 
    proven_at DATETIME, 
    operation_id TEXT, 
    recorded_at DATETIME NOT NULL, 
    CONSTRAINT pk_files PRIMARY KEY (id), 
    CONSTRAINT fk_files_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id), 
    CONSTRAINT ck_files_location CHECK (location IN ('local', 's3', 'completed')), 
    CONSTRAINT ck_files_status CHECK (status IN ('pending', 'uploading', 'completed', 'failed', 'deleted')), 
    CONSTRAINT ck_files_store CHECK ((location = 's3') = (store IS NOT NULL)), 
    CONSTRAINT ck_files_host CHECK ((location = 's3') = (host IS NULL))
);

CREATE UNIQUE INDEX ix_files_host_location_path ON files (host, location, path) WHERE path_bytes IS NULL;

CREATE UNIQUE INDEX ix_files_host_location_path_bytes ON files (host, location, path_bytes) WHERE path_bytes IS NOT NULL;

CREATE UNIQUE INDEX ix_files_store_path ON files (store, path) WHERE store IS NOT NULL;

CREATE INDEX ix_files_location_path ON files (location, path);

CREATE INDEX ix_files_status ON files (status);

CREATE INDEX ix_files_path ON files (path);

CREATE INDEX ix_files_name ON files (name);

CREATE INDEX ix_files_s3_object_key ON files (s3_object_key);

CREATE INDEX ix_files_operation_id ON files (operation_id);

CREATE INDEX ix_files_digest ON files (digest);

CREATE TABLE operation_files (
    operation_id TEXT NOT NULL, 
    file_id INTEGER NOT NULL, 
    role VARCHAR(16) NOT NULL, 
    CONSTRAINT pk_operation_files PRIMARY KEY (operation_id, file_id, role), 
    CONSTRAINT fk_operation_files_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id), 
    CONSTRAINT fk_operation_files_file_id_files FOREIGN KEY(file_id) REFERENCES files (id), 
    CONSTRAINT ck_operation_files_role CHECK (role IN ('source', 'archive', 'index', 'completed', 'result'))
);

CREATE INDEX ix_operation_files_file_id ON operation_files (file_id);

CREATE TABLE directories (
    id INTEGER NOT NULL, 
    path TEXT NOT NULL, 
    path_bytes BLOB, 
    CONSTRAINT pk_directories PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_directories_path ON directories (path) WHERE path_bytes IS NULL;

CREATE UNIQUE INDEX ix_directories_path_bytes ON directories (path_bytes) WHERE path_bytes IS NOT NULL;

CREATE TABLE members (
    id INTEGER NOT NULL, 
    archive_id INTEGER NOT NULL, 
    directory_id INTEGER NOT NULL, 
    name TEXT NOT NULL, 
    name_bytes BLOB, 
    type TEXT NOT NULL, 
    mode SMALLINT NOT NULL, 
    size INTEGER NOT NULL, 
    mtime_ns INTEGER NOT NULL, 
    header_offset INTEGER NOT NULL, 
    data_offset INTEGER NOT NULL, 
    sha256 BLOB, 
    link TEXT, 
    link_bytes BLOB, 
    CONSTRAINT pk_members PRIMARY KEY (id), 
    CONSTRAINT fk_members_archive_id_files FOREIGN KEY(archive_id) REFERENCES files (id), 
    CONSTRAINT fk_members_directory_id_directories FOREIGN KEY(directory_id) REFERENCES directories (id), 
    CONSTRAINT ck_members_type CHECK (type IN ('f', 'd', 'l', 'h'))
);

CREATE INDEX ix_members_archive_id ON members (archive_id);

CREATE INDEX ix_members_directory_id ON members (directory_id);

CREATE TABLE endpoints (
    url TEXT NOT NULL, 
    checksum TEXT, 
    max_parts INTEGER NOT NULL, 
    probed_at DATETIME NOT NULL, 
    CONSTRAINT pk_endpoints PRIMARY KEY (url)
);

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING version_num;

-- Running upgrade 0001 -> 0002

CREATE VIRTUAL TABLE member_names USING fts5(name, content='', tokenize='trigram', detail=none, columnsize=0);

CREATE TABLE member_names_mark (indexed_to INTEGER NOT NULL);

INSERT INTO member_names_mark (indexed_to) VALUES (0);

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE member_ranges (
    archive_id INTEGER NOT NULL, 
    first_id INTEGER NOT NULL, 
    last_id INTEGER NOT NULL, 
    CONSTRAINT pk_member_ranges PRIMARY KEY (archive_id), 
    CONSTRAINT fk_member_ranges_archive_id_files FOREIGN KEY(archive_id) REFERENCES files (id)
);

CREATE INDEX ix_member_ranges_last_id ON member_ranges (last_id);

INSERT INTO member_ranges (archive_id, first_id, last_id) SELECT archive_id, min(id), max(id) FROM members GROUP BY archive_id;

CREATE TABLE directory_archives (
    directory_id INTEGER NOT NULL, 
    archive_id INTEGER NOT NULL, 
    CONSTRAINT pk_directory_archives PRIMARY KEY (directory_id, archive_id), 
    CONSTRAINT fk_directory_archives_directory_id_directories FOREIGN KEY(directory_id) REFERENCES directories (id), 
    CONSTRAINT fk_directory_archives_archive_id_files FOREIGN KEY(archive_id) REFERENCES files (id)
)
 WITHOUT ROWID;

INSERT INTO directory_archives (directory_id, archive_id) SELECT DISTINCT directory_id, archive_id FROM members;

DROP INDEX ix_members_directory_id;

DROP INDEX ix_members_archive_id;

INSERT INTO member_names (member_names) VALUES ('delete-all');

UPDATE member_names_mark SET indexed_to = 0;

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

ALTER TABLE operations ADD COLUMN heard_at DATETIME;

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

ALTER TABLE operations ADD COLUMN sha256 BLOB;

ALTER TABLE operations ADD COLUMN seal INTEGER;

CREATE INDEX ix_operations_seal ON operations (seal);

CREATE TABLE seals (
    sequence INTEGER NOT NULL, 
    sealed_at DATETIME NOT NULL, 
    operations TEXT NOT NULL, 
    previous BLOB, 
    digest BLOB NOT NULL, 
    CONSTRAINT pk_seals PRIMARY KEY (sequence)
);

CREATE TRIGGER operations_delete BEFORE DELETE ON operations WHEN OLD.status NOT IN ('pending', 'running')
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operations_insert BEFORE INSERT ON operations WHEN EXISTS (SELECT 1 FROM operations WHERE (operation_id = NEW.operation_id OR seq = NEW.seq OR rowid = NEW.rowid) AND status NOT IN ('pending', 'running'))
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operations_update BEFORE UPDATE OF "operation_id", "operation_type", "target_path", "target_path_bytes", "target_name", "target_name_bytes", "started_at", "completed_at", "status", "result_path", "result_path_bytes", "error_message", "metadata", "user", "command_args", "seq", "parent_id", "stage", "claim", "owner", "heard_at", "host", "mgmt_version" ON operations WHEN OLD.status NOT IN ('pending', 'running')
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operations_number BEFORE UPDATE OF operation_id, seq ON operations WHEN OLD.operation_id <> NEW.operation_id OR OLD.seq <> NEW.seq
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operations_sha256 BEFORE UPDATE OF sha256 ON operations WHEN OLD.sha256 IS NOT NULL OR NEW.status IN ('pending', 'running')
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operations_seal BEFORE UPDATE OF seal ON operations WHEN OLD.seal IS NOT NULL OR NEW.sha256 IS NULL
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER downloads_delete BEFORE DELETE ON downloads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER downloads_insert BEFORE INSERT ON downloads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER downloads_update BEFORE UPDATE ON downloads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER searches_delete BEFORE DELETE ON searches WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER searches_insert BEFORE INSERT ON searches WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER searches_update BEFORE UPDATE ON searches WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER uploads_delete BEFORE DELETE ON uploads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER uploads_insert BEFORE INSERT ON uploads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER uploads_update BEFORE UPDATE ON uploads WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER verifications_delete BEFORE DELETE ON verifications WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER verifications_insert BEFORE INSERT ON verifications WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER verifications_update BEFORE UPDATE ON verifications WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operation_files_delete BEFORE DELETE ON operation_files WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operation_files_insert BEFORE INSERT ON operation_files WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER operation_files_update BEFORE UPDATE ON operation_files WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER seals_delete BEFORE DELETE ON seals WHEN TRUE
BEGIN SELECT RAISE(ABORT, 'a seal cannot be changed'); END;

CREATE TRIGGER seals_insert BEFORE INSERT ON seals WHEN EXISTS (SELECT 1 FROM seals WHERE sequence = NEW.sequence)
BEGIN SELECT RAISE(ABORT, 'a seal cannot be changed'); END;

CREATE TRIGGER seals_update BEFORE UPDATE ON seals WHEN TRUE
BEGIN SELECT RAISE(ABORT, 'a seal cannot be changed'); END;

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

CREATE TABLE prunes (
    operation_id TEXT NOT NULL, 
    ended_before DATETIME NOT NULL, 
    removed_count INTEGER NOT NULL, 
    removed TEXT NOT NULL, 
    export_size INTEGER, 
    export_sha256 TEXT, 
    CONSTRAINT pk_prunes PRIMARY KEY (operation_id), 
    CONSTRAINT fk_prunes_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE TRIGGER prunes_delete BEFORE DELETE ON prunes WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER prunes_insert BEFORE INSERT ON prunes WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER prunes_update BEFORE UPDATE ON prunes WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

-- Running upgrade 0006 -> 0007

ALTER TABLE files ADD COLUMN archive_id TEXT;

ALTER TABLE files ADD COLUMN kept TEXT;

ALTER TABLE uploads ADD COLUMN kept TEXT;

DROP INDEX ix_files_store_path;

CREATE UNIQUE INDEX ix_files_store_path ON files (store, path) WHERE store IS NOT NULL AND status <> 'deleted';

UPDATE files SET archive_id = (
    SELECT coalesce(u.archive_id, u.operation_id) FROM uploads u WHERE u.operation_id = files.operation_id)
WHERE store IS NOT NULL AND archive_id IS NULL AND id NOT IN (SELECT f.id FROM uploads u JOIN operations o ON o.operation_id = u.operation_id JOIN operation_files l ON l.operation_id = u.operation_id AND l.role = 'archive' JOIN files f ON f.id = l.file_id AND f.store IS NOT NULL AND f.digest <> u.digest);

INSERT INTO files (name, path, location, store, s3_bucket, s3_object_key, storage_class, size, is_directory, mime_type,
    tags, status, etag, checksum, object_checksum, index_key, digest, original_size, proof, archive_id, operation_id,
    recorded_at)
SELECT f.name, f.path, f.location, f.store, f.s3_bucket, f.s3_object_key, u.s3_storage_class, u.compressed_size,
    f.is_directory, f.mime_type, '{}', 'deleted', u.checksum_s3_etag, u.checksum_compressed,
    u.checksum_compressed, u.index_key, u.digest, u.original_size, u.proof, coalesce(u.archive_id, u.operation_id),
    u.operation_id, coalesce(o.completed_at, o.started_at)
FROM uploads u JOIN operations o ON o.operation_id = u.operation_id JOIN operation_files l ON l.operation_id = u.operation_id AND l.role = 'archive' JOIN files f ON f.id = l.file_id AND f.store IS NOT NULL AND f.digest <> u.digest
WHERE NOT EXISTS (
    SELECT 1 FROM uploads e JOIN operations p ON p.operation_id = e.operation_id
    JOIN operation_files k ON k.operation_id = e.operation_id AND k.role = 'archive'
    WHERE k.file_id = f.id AND e.digest = u.digest AND p.seq < o.seq)
ORDER BY o.seq;

UPDATE files SET kept = '' WHERE operation_id IN (
    SELECT operation_id FROM operations WHERE operation_type = 'upload'
    AND CAST(command_args AS TEXT) NOT LIKE '%"xattrs"%' AND CAST(command_args AS TEXT) NOT LIKE '%"owners"%');

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

-- Running upgrade 0007 -> 0008

ALTER TABLE searches ADD COLUMN local_paths JSON;

ALTER TABLE searches ADD COLUMN s3_keys JSON;

ALTER TABLE searches ADD COLUMN downloaded_key TEXT;

ALTER TABLE searches ADD COLUMN checked_key TEXT;

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';

-- Running upgrade 0008 -> 0009

DROP TRIGGER IF EXISTS operations_type;

CREATE TRIGGER operations_type BEFORE INSERT ON operations WHEN NEW.operation_type NOT IN ('batch', 'config', 'delete', 'download', 'free', 'ignore', 'prune', 'rebuild', 'recover', 'search', 'status', 'upload', 'verify')
BEGIN SELECT RAISE(ABORT, 'unknown type of operation'); END;

DROP TRIGGER IF EXISTS operations_retype;

CREATE TRIGGER operations_retype BEFORE UPDATE OF operation_type ON operations WHEN NEW.operation_type NOT IN ('batch', 'config', 'delete', 'download', 'free', 'ignore', 'prune', 'rebuild', 'recover', 'search', 'status', 'upload', 'verify')
BEGIN SELECT RAISE(ABORT, 'unknown type of operation'); END;

DROP TRIGGER seals_insert;

CREATE TRIGGER seals_insert BEFORE INSERT ON seals WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM seals) OR NEW.previous IS NOT (SELECT digest FROM seals ORDER BY sequence DESC LIMIT 1)
BEGIN SELECT RAISE(ABORT, 'a seal must have the next number, and the digest of the seal before it'); END;

CREATE INDEX ix_operations_user_seq ON operations (user, seq);

DROP INDEX ix_uploads_s3_object_key;

DROP INDEX ix_uploads_digest;

DROP INDEX ix_downloads_s3_object_key;

DROP INDEX ix_verifications_s3_object_key;

UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';

-- Running upgrade 0009 -> 0010

ALTER TABLE operations ADD COLUMN retry_of TEXT;

ALTER TABLE operations ADD COLUMN cancel_requested_by TEXT;

ALTER TABLE operations ADD COLUMN done_bytes INTEGER;

ALTER TABLE operations ADD COLUMN total_bytes INTEGER;

ALTER TABLE operations ADD COLUMN bytes_per_second INTEGER;

CREATE INDEX ix_operations_retry_of ON operations (retry_of);

DROP TRIGGER operations_update;

CREATE TRIGGER operations_update BEFORE UPDATE OF "operation_id", "operation_type", "target_path", "target_path_bytes", "target_name", "target_name_bytes", "started_at", "completed_at", "status", "result_path", "result_path_bytes", "error_message", "metadata", "user", "command_args", "seq", "parent_id", "stage", "claim", "owner", "heard_at", "host", "mgmt_version", "retry_of", "cancel_requested_by", "done_bytes", "total_bytes", "bytes_per_second" ON operations WHEN OLD.status NOT IN ('pending', 'running')
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TABLE undos (
    operation_id TEXT NOT NULL, 
    undo_of TEXT NOT NULL, 
    CONSTRAINT pk_undos PRIMARY KEY (operation_id), 
    CONSTRAINT fk_undos_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE INDEX ix_undos_undo_of ON undos (undo_of);

CREATE TRIGGER undos_delete BEFORE DELETE ON undos WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER undos_insert BEFORE INSERT ON undos WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

CREATE TRIGGER undos_update BEFORE UPDATE ON undos WHEN EXISTS (SELECT 1 FROM operations WHERE operation_id IN (OLD.operation_id, NEW.operation_id) AND sha256 IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a finished operation cannot be changed'); END;

DROP TRIGGER IF EXISTS operations_type;

CREATE TRIGGER operations_type BEFORE INSERT ON operations WHEN NEW.operation_type NOT IN ('batch', 'config', 'delete', 'download', 'free', 'ignore', 'prune', 'rebuild', 'recover', 'search', 'status', 'undo', 'upload', 'verify')
BEGIN SELECT RAISE(ABORT, 'unknown type of operation'); END;

DROP TRIGGER IF EXISTS operations_retype;

CREATE TRIGGER operations_retype BEFORE UPDATE OF operation_type ON operations WHEN NEW.operation_type NOT IN ('batch', 'config', 'delete', 'download', 'free', 'ignore', 'prune', 'rebuild', 'recover', 'search', 'status', 'undo', 'upload', 'verify')
BEGIN SELECT RAISE(ABORT, 'unknown type of operation'); END;

CREATE TABLE jobs (
    operation_id TEXT NOT NULL, 
    command TEXT NOT NULL, 
    queue TEXT NOT NULL, 
    host TEXT, 
    store TEXT, 
    not_before DATETIME, 
    attempt INTEGER NOT NULL, 
    attempts INTEGER NOT NULL, 
    backoff_seconds INTEGER NOT NULL, 
    taken_by TEXT, 
    fanned_out BOOLEAN NOT NULL, 
    held BOOLEAN NOT NULL, 
    template TEXT, 
    schedule TEXT, 
    requested_at DATETIME NOT NULL, 
    CONSTRAINT pk_jobs PRIMARY KEY (operation_id), 
    CONSTRAINT fk_jobs_operation_id_operations FOREIGN KEY(operation_id) REFERENCES operations (operation_id)
);

CREATE INDEX ix_jobs_queue_host ON jobs (queue, host);

CREATE TABLE job_dependencies (
    operation_id TEXT NOT NULL, 
    after_id TEXT NOT NULL, 
    CONSTRAINT pk_job_dependencies PRIMARY KEY (operation_id, after_id), 
    CONSTRAINT fk_job_dependencies_operation_id_jobs FOREIGN KEY(operation_id) REFERENCES jobs (operation_id)
);

CREATE INDEX ix_job_dependencies_after_id ON job_dependencies (after_id);

CREATE TABLE schedules (
    name TEXT NOT NULL, 
    cron TEXT NOT NULL, 
    timezone TEXT NOT NULL, 
    command JSON NOT NULL, 
    host TEXT NOT NULL, 
    cwd TEXT NOT NULL, 
    queue TEXT, 
    store TEXT, 
    user TEXT, 
    paused BOOLEAN NOT NULL, 
    created_at DATETIME NOT NULL, 
    last_time DATETIME, 
    last_operation_id TEXT, 
    CONSTRAINT pk_schedules PRIMARY KEY (name)
);

CREATE TABLE outbox (
    message_id TEXT NOT NULL, 
    rule TEXT NOT NULL, 
    event TEXT NOT NULL, 
    operation_id TEXT, 
    payload JSON NOT NULL, 
    created_at DATETIME NOT NULL, 
    next_try_at DATETIME NOT NULL, 
    attempts INTEGER NOT NULL, 
    delivered_at DATETIME, 
    given_up BOOLEAN NOT NULL, 
    error TEXT, 
    host TEXT NOT NULL, 
    CONSTRAINT pk_outbox PRIMARY KEY (message_id)
);

CREATE INDEX ix_outbox_delivered_at_next_try_at ON outbox (delivered_at, next_try_at);

UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';

COMMIT;


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

INSERT INTO member_ranges (archive_id, first_id, last_id) VALUES (2, 1, 4);
INSERT INTO directory_archives (directory_id, archive_id) VALUES (1, 2), (2, 2);

INSERT INTO operations (operation_id, operation_type, target_path, target_name, started_at, completed_at, status,
    metadata, user, command_args, seq, host, mgmt_version)
VALUES
    ('11111111-0000-4000-8000-000000000005', 'search', 'wedding', 'wedding', '2024-03-05 10:00:00.000000',
     '2024-03-05 10:00:02.000000', 'success', '{"picked": "caf\\udce9/wedding.mov"}', 'ann', '{}', 5, 'nas', '0.1.0');
INSERT INTO searches (operation_id, keyword, location, local_matches, s3_matches, total_matches, download_selected,
    status_checked, local_paths, s3_keys, downloaded_key)
VALUES ('11111111-0000-4000-8000-000000000005', 'wedding', 'global', 1, 2, 3, 1, 0, '["/films/wedding.mov"]',
    '["caf.tar.gz", "\u00c9tude.mkv.tar.gz"]', 'caf.tar.gz');

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
 UPDATE operations SET sha256 = X'9f3a24e35a6aff4b2010692b201cad5f431ae9393b2824b9a7e623f38b40a558' WHERE seq = 1;
UPDATE operations SET sha256 = X'22aa3d949169bec8062749b6b9683ed7378d9edfb3d55de2146d5b6602701024' WHERE seq = 2;
UPDATE operations SET sha256 = X'90c063f7789a2392f28d80d22583e718cff36e5eee51e87e49f1a03f91ac6267' WHERE seq = 3;
UPDATE operations SET sha256 = X'b72850335500b3d83805f9a1d1439a33b0841c6d9833d77b2ed24572eb041a39' WHERE seq = 5;
INSERT INTO seals VALUES (1, '2026-11-28 21:19:07.199006', '[[1,"11111111-0000-4000-8000-000000000001","9f3a24e35a6aff4b2010692b201cad5f431ae9393b2824b9a7e623f38b40a558"],[2,"11111111-0000-4000-8000-000000000002","22aa3d949169bec8062749b6b9683ed7378d9edfb3d55de2146d5b6602701024"],[3,"11111111-0000-4000-8000-000000000003","90c063f7789a2392f28d80d22583e718cff36e5eee51e87e49f1a03f91ac6267"],[5,"11111111-0000-4000-8000-000000000005","b72850335500b3d83805f9a1d1439a33b0841c6d9833d77b2ed24572eb041a39"]]', NULL, X'89567B3AABD093DF82116622883B1B6666EA08F158B224ED6217038841199760');
UPDATE operations SET seal = 1 WHERE sha256 IS NOT NULL;
