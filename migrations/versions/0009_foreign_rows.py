"""What only mgmt may write: operations of known types, and seals that follow one another.

Revision: 0009, after 0008.

Whoever may insert into the catalog could add an operation of a type that no mgmt knows, or a seal with any number,
after which every later one was wrong. Both are refused from here on; rows that are there already stay. No table is
rewritten. Four indexes that no query uses are gone. One transaction
excludes CONCURRENTLY: who uses their tables waits for that instant, and who writes while a downgrade makes them again.
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
    for table, column in UNUSED:
        op.drop_index(f"ix_{table}_{column}", table)


def downgrade() -> None:
    for table, column in UNUSED:
        op.create_index(f"ix_{table}_{column}", table, [column])
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
