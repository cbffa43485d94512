"""What only mgmt may write: operations of known types, and seals that follow one another.

Revision: 0009, after 0008.

Whoever may insert into the catalog could add an operation of a type that no mgmt knows, or a seal with any number,
after which every later one was wrong. Both are refused from here on; rows that are there already stay. No table is
rewritten. Four indexes that no query uses are gone, and there is one for `log --user`. On PostgreSQL there are two
more, for the tags and the sizes of files, and the tables have comments.

Not CONCURRENTLY, which cannot be part of a transaction: uploads wait for the indexes, readers do not.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CHAINED = "a seal must have the next number, and the digest of the seal before it"
NEXT_SEAL = f"""
CREATE FUNCTION mgmt_next_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    digest bytea;
BEGIN
    EXECUTE 'SELECT s.sequence, s.digest FROM ' || quote_ident(TG_TABLE_SCHEMA)
        || '.seals s ORDER BY s.sequence DESC LIMIT 1' INTO number, digest;
    IF NEW.sequence <> coalesce(number, 0) + 1 OR NEW.previous IS DISTINCT FROM digest THEN
        RAISE EXCEPTION '{CHAINED}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$"""
UNUSED = (
    ("uploads", "s3_object_key"),
    ("uploads", "digest"),
    ("downloads", "s3_object_key"),
    ("verifications", "s3_object_key"),
)
POSTGRESQL = {
    "ix_files_size": "ON files ((coalesce(size, -1)), id)",
    "ix_files_tags": "ON files USING gin (CAST(tags AS jsonb) jsonb_path_ops)",
}
COMMENTS = {
    "operations": "One row for each thing that mgmt did or was asked to do; final once it has finished",
    "uploads": "What an operation of the type upload has besides",
    "downloads": "What an operation of the type download has besides",
    "searches": "What an operation of the type search has besides",
    "verifications": "What an operation of the type verify has besides",
    "prunes": "What an operation of the type prune has besides",
    "files": "Originals, archives in a store, and completed copies",
    "operation_files": "The files that an operation touched, and their roles",
    "directories": "The folders inside archives",
    "members": "The files inside archives; the members of an archive have adjacent ids",
    "member_ranges": "The range of ids of the members of an archive",
    "directory_archives": "The archives that have members in a directory",
    "seals": "The chain of hashes over finished operations",
    "endpoints": "What each S3 endpoint supports; a row that is removed is probed again",
}


def upgrade() -> None:
    op.allow_types()  # type: ignore[attr-defined]  # see migrations/final.py
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER seals_insert")
        op.execute(
            "CREATE TRIGGER seals_insert BEFORE INSERT ON seals WHEN "
            "NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM seals) "
            "OR NEW.previous IS NOT (SELECT digest FROM seals ORDER BY sequence DESC LIMIT 1)\n"
            f"BEGIN SELECT RAISE(ABORT, '{CHAINED}'); END"
        )
    else:
        op.execute(
            "CREATE TRIGGER operations_type BEFORE INSERT OR UPDATE OF operation_type ON operations "
            "FOR EACH ROW EXECUTE FUNCTION mgmt_known_type()"
        )
        op.execute(NEXT_SEAL)
        op.execute("CREATE TRIGGER seals_insert BEFORE INSERT ON seals FOR EACH ROW EXECUTE FUNCTION mgmt_next_seal()")
        for name, definition in POSTGRESQL.items():
            op.execute(f"CREATE INDEX {name} {definition}")
        for table, comment in COMMENTS.items():
            op.execute(f"COMMENT ON TABLE {table} IS '{comment}'")
    op.create_index("ix_operations_user_seq", "operations", ["user", "seq"])
    for table, column in UNUSED:  # last: from here to the commit readers wait, too
        op.drop_index(f"ix_{table}_{column}", table)


def downgrade() -> None:
    for table, column in UNUSED:
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.drop_index("ix_operations_user_seq", "operations")
    if op.get_context().dialect.name == "sqlite":
        for trigger in ("operations_type", "operations_retype", "seals_insert"):
            op.execute(f"DROP TRIGGER {trigger}")
        op.execute(
            "CREATE TRIGGER seals_insert BEFORE INSERT ON seals WHEN "
            "EXISTS (SELECT 1 FROM seals WHERE sequence = NEW.sequence)\n"
            "BEGIN SELECT RAISE(ABORT, 'a seal cannot be changed'); END"
        )
    else:
        op.execute("DROP TRIGGER operations_type ON operations")
        op.execute("DROP TRIGGER seals_insert ON seals")
        op.execute("DROP FUNCTION mgmt_known_type()")
        op.execute("DROP FUNCTION mgmt_next_seal()")
        for name in POSTGRESQL:
            op.execute(f"DROP INDEX {name}")
        for table in COMMENTS:
            op.execute(f"COMMENT ON TABLE {table} IS NULL")
