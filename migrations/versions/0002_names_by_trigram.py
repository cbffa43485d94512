"""Names of members by trigram.

Revision: 0002, after 0001.

A search looks at a million names in a millisecond. SQLite keeps a full-text index of its own and how far it goes;
members beyond the mark are looked at one by one, so nothing has to be indexed here. PostgreSQL has an index for it,
where the extension pg_trgm is installed and may be created; everything works without.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE member_names "
            "USING fts5(name, content='', tokenize='trigram', detail=none, columnsize=0)"
        )
        op.execute("CREATE TABLE member_names_mark (indexed_to INTEGER NOT NULL)")
        op.execute("INSERT INTO member_names_mark (indexed_to) VALUES (0)")
    else:
        # An index CONCURRENTLY cannot be made inside the transaction that makes an upgrade whole or nothing: uploads
        # wait while it is made, readers do not.
        op.execute(
            """
            DO $$ BEGIN
                IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
                    CREATE EXTENSION IF NOT EXISTS pg_trgm;
                    -- It may be installed in a schema outside of the search_path.
                    EXECUTE (
                        SELECT 'CREATE INDEX member_names ON members USING gin (name COLLATE "default" '
                            || quote_ident(nspname) || '.gin_trgm_ops)'
                        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_trgm'
                    );
                END IF;
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE NOTICE 'pg_trgm may not be created here: searching will be slower';
            END $$
            """
        )


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE member_names")
        op.execute("DROP TABLE member_names_mark")
    else:
        op.execute("DROP INDEX IF EXISTS member_names")
