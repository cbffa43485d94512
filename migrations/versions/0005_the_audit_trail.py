"""A finished operation is final: triggers, a sha256 of each, and seals that chain them.

Revision: 0005, after 0004.

What has ended by now is hashed and sealed here, a thousand operations at a time, so that everything that ends later
without a hash has been put there by somebody else. SQL alone cannot do that: the statements of an offline upgrade are
for a catalog without a history, and say so. The index is not made CONCURRENTLY, which no transaction can do: writers
wait for the hashes anyway.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")

BATCH = 1_000
PARTS = ("downloads", "searches", "uploads", "verifications", "operation_files")
FACTS = (
    *("operation_id", "operation_type", "target_path", "target_path_bytes", "target_name", "target_name_bytes"),
    *("started_at", "completed_at", "status", "result_path", "result_path_bytes", "error_message", "metadata"),
    *("user", "command_args", "seq", "parent_id", "stage", "claim", "owner", "heard_at", "host", "mgmt_version"),
)

FINAL = "a finished operation cannot be changed"
SEALED = "a seal cannot be changed"
LIVE = "('pending', 'running')"
REPLACES_WHAT_HAS_ENDED = (
    "EXISTS (SELECT 1 FROM operations WHERE (operation_id = NEW.operation_id OR seq = NEW.seq OR rowid = NEW.rowid) "
    f"AND status NOT IN {LIVE})"
)


def upgrade() -> None:
    op.add_column("operations", sa.Column("sha256", sa.LargeBinary))
    op.add_column("operations", sa.Column("seal", BIG))
    op.create_index("ix_operations_seal", "operations", ["seal"])
    op.create_table(
        "seals",
        sa.Column("sequence", BIG, nullable=False, autoincrement=False),
        sa.Column("sealed_at", TIME, nullable=False),
        sa.Column("operations", TEXT, nullable=False),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_seals"),
    )
    context = op.get_context()
    is_sqlite = context.dialect.name == "sqlite"
    if not context.as_sql:
        seal_what_has_ended(op.get_bind())
    elif not is_sqlite:
        op.execute(
            f"""
            DO $$ BEGIN
                IF EXISTS (SELECT FROM operations WHERE status NOT IN {LIVE}) THEN
                    RAISE EXCEPTION 'this catalog has a history to seal, which SQL cannot do: run mgmt db upgrade';
                END IF;
            END $$
            """
        )
    for made in in_sqlite() if is_sqlite else in_postgresql():
        op.execute(made)


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for table, events in SQLITE_EVENTS.items():
            for event in events:
                op.execute(f"DROP TRIGGER {table}_{event}")
    else:
        for table in ("operations", *PARTS):
            op.execute(f"DROP TRIGGER {table}_keep ON {table}")
            op.execute(f"DROP TRIGGER {table}_truncate ON {table}")
    op.drop_table("seals")
    if op.get_context().dialect.name != "sqlite":
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}()")
    op.drop_index("ix_operations_seal", "operations")
    # A policy of `mgmt db roles` looks at the column, and goes with it: writers change nothing until that is run again.
    cascade = "" if op.get_context().dialect.name == "sqlite" else " CASCADE"
    op.execute(f"ALTER TABLE operations DROP COLUMN seal{cascade}")
    op.execute("ALTER TABLE operations DROP COLUMN sha256")


def seal_what_has_ended(connection: sa.Connection) -> None:
    seals = sa.table(
        "seals",
        sa.column("sequence", BIG),
        sa.column("sealed_at", TIME),
        sa.column("operations", TEXT),
        sa.column("previous", sa.LargeBinary),
        sa.column("digest", sa.LargeBinary),
    )
    previous = None
    for number, batch in enumerate(ended(connection), 1):
        hashes = [(seq, id_, sha256(text.encode())) for seq, id_, text in batch]
        moment = datetime.now(UTC)
        listed = dumps([(seq, id_, digest.hexdigest()) for seq, id_, digest in hashes])
        said = {
            "format": 1,
            "operations": listed,
            "previous": None if previous is None else previous.hex(),
            "sealed_at": plain(moment, "sealed_at"),
            "sequence": number,
        }
        digest = sha256(dumps(said).encode()).digest()
        stored = moment.replace(tzinfo=None) if connection.dialect.name == "sqlite" else moment
        connection.execute(
            seals.insert().values(
                sequence=number, sealed_at=stored, operations=listed, previous=previous, digest=digest
            )
        )
        mark(connection, number, {id_: each.digest() for _, id_, each in hashes})
        previous = digest


def mark(connection: sa.Connection, number: int, digests: dict[str, bytes]) -> None:
    """Note with each operation what it is sealed as. PostgreSQL is told of all in one statement: a fifth faster."""
    if connection.dialect.name == "sqlite":
        one = sa.text("UPDATE operations SET sha256 = :sha256, seal = :seal WHERE operation_id = :id")
        connection.execute(one, [{"sha256": each, "seal": number, "id": id_} for id_, each in digests.items()])
    else:
        all_ = sa.text(
            "UPDATE operations o SET sha256 = x.sha256, seal = :seal "
            "FROM unnest(CAST(:ids AS text[]), CAST(:hashes AS bytea[])) AS x(id, sha256) WHERE o.operation_id = x.id"
        )
        connection.execute(all_, {"seal": number, "ids": [*digests], "hashes": [*digests.values()]})


def ended(connection: sa.Connection) -> Iterator[list[tuple[int, str, str]]]:
    """What has ended, by number: the number, the id, and all that is recorded of it as one text."""
    inside = "o.seq > :after AND o.seq <= :until"
    last = sa.text(
        f"SELECT max(seq) FROM (SELECT seq FROM operations WHERE seq > :after ORDER BY seq LIMIT {BATCH}) page"
    )
    operations = sa.text(f"SELECT o.* FROM operations o WHERE {inside} AND status NOT IN {LIVE} ORDER BY seq")
    parts = {
        part: sa.text(f"SELECT p.* FROM operations o JOIN {part} p ON p.operation_id = o.operation_id WHERE {inside}")
        for part in PARTS
        if part != "operation_files"
    }
    links = sa.text(
        "SELECT o.operation_id, l.role, f.location, coalesce(f.store, f.host), f.path, f.path_bytes FROM operations o "
        f"JOIN operation_files l ON l.operation_id = o.operation_id JOIN files f ON f.id = l.file_id WHERE {inside}"
    )
    after = -1
    while (until := connection.scalar(last, {"after": after})) is not None:
        page = {"after": after, "until": until}
        more: dict[str, dict[str, Any]] = {}
        for part, asked in parts.items():
            for row in connection.execute(asked, page):
                said = facts(row)
                more.setdefault(said.pop("operation_id"), {})[part] = said
        for operation_id, *link in connection.execute(links, page):
            told = [plain(each, "") for each in link]
            more.setdefault(operation_id, {}).setdefault("files", []).append(told)
        batch = []
        for row in connection.execute(operations, page):
            own = facts(row)
            extra = more.get(own["operation_id"], {})
            if "files" in extra:
                extra["files"].sort(key=dumps)
            batch.append((own["seq"], own["operation_id"], dumps({"format": 1, "operations": own, **extra})))
        if batch:
            yield batch
        after = until


def facts(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: plain(value, name) for name, value in row._mapping.items() if value is not None}


def plain(value: Any, name: str) -> Any:
    if name in ("started_at", "completed_at", "heard_at", "sealed_at"):
        if isinstance(value, str):
            return value.replace(" ", "T") + "Z"
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    if name in ("metadata", "command_args") and isinstance(value, str):
        return json.loads(value)
    if name in ("download_selected", "status_checked"):
        return bool(value)
    return {"hex": bytes(value).hex()} if isinstance(value, (bytes, memoryview)) else value


def dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def has_ended(ids: str) -> str:
    return f"EXISTS (SELECT 1 FROM operations WHERE operation_id IN ({ids}) AND sha256 IS NOT NULL)"


def events_of_a_part() -> dict[str, tuple[str, str]]:
    return {
        "delete": ("DELETE", has_ended("OLD.operation_id")),
        "insert": ("INSERT", has_ended("NEW.operation_id")),
        "update": ("UPDATE", has_ended("OLD.operation_id, NEW.operation_id")),
    }


SQLITE_EVENTS: dict[str, dict[str, tuple[str, str]]] = {
    "operations": {
        "delete": ("DELETE", f"OLD.status NOT IN {LIVE}"),
        "insert": ("INSERT", REPLACES_WHAT_HAS_ENDED),
        "update": ("UPDATE OF " + ", ".join(f'"{fact}"' for fact in FACTS), f"OLD.status NOT IN {LIVE}"),
        "number": ("UPDATE OF operation_id, seq", "OLD.operation_id <> NEW.operation_id OR OLD.seq <> NEW.seq"),
        "sha256": ("UPDATE OF sha256", f"OLD.sha256 IS NOT NULL OR NEW.status IN {LIVE}"),
        "seal": ("UPDATE OF seal", "OLD.seal IS NOT NULL OR NEW.sha256 IS NULL"),
    },
    **{part: events_of_a_part() for part in PARTS},
    "seals": {
        "delete": ("DELETE", "TRUE"),
        "insert": ("INSERT", "EXISTS (SELECT 1 FROM seals WHERE sequence = NEW.sequence)"),
        "update": ("UPDATE", "TRUE"),
    },
}


def in_sqlite() -> Iterator[str]:
    for table, events in SQLITE_EVENTS.items():
        says = SEALED if table == "seals" else FINAL
        for event, (what, when) in events.items():
            yield (
                f"CREATE TRIGGER {table}_{event} BEFORE {what} ON {table} WHEN {when}\n"
                f"BEGIN SELECT RAISE(ABORT, '{says}'); END"
            )


FUNCTIONS = {
    "mgmt_keep_operation": f"""
DECLARE
    kept operations := NEW;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status NOT IN {LIVE} THEN
            RAISE EXCEPTION '{FINAL}' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN OLD;
    END IF;
    kept.sha256 := OLD.sha256;
    kept.seal := OLD.seal;
    IF NEW.operation_id <> OLD.operation_id OR NEW.seq <> OLD.seq
        OR (OLD.status NOT IN {LIVE} AND kept::text <> OLD::text)
        OR (NEW.sha256 IS DISTINCT FROM OLD.sha256 AND (OLD.sha256 IS NOT NULL OR NEW.status IN {LIVE}))
        OR (NEW.seal IS DISTINCT FROM OLD.seal AND (OLD.seal IS NOT NULL OR NEW.sha256 IS NULL))
    THEN
        RAISE EXCEPTION '{FINAL}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
""",
    "mgmt_keep_facts": f"""
BEGIN
    IF (TG_OP <> 'INSERT' AND {has_ended("OLD.operation_id")})
        OR (TG_OP <> 'DELETE' AND {has_ended("NEW.operation_id")})
    THEN
        RAISE EXCEPTION '{FINAL}' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END
""",
    "mgmt_refuse": f"""
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
        MESSAGE = CASE TG_TABLE_NAME WHEN 'seals' THEN '{SEALED}' ELSE '{FINAL}' END;
END
""",
}


def in_postgresql() -> Iterator[str]:
    for name, body in FUNCTIONS.items():
        yield f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
    yield postgresql_trigger("operations", "keep", "DELETE OR UPDATE", "ROW", "mgmt_keep_operation")
    for part in PARTS:
        yield postgresql_trigger(part, "keep", "INSERT OR DELETE OR UPDATE", "ROW", "mgmt_keep_facts")
    yield postgresql_trigger("seals", "keep", "DELETE OR UPDATE", "ROW", "mgmt_refuse")
    for table in ("operations", *PARTS, "seals"):
        yield postgresql_trigger(table, "truncate", "TRUNCATE", "STATEMENT", "mgmt_refuse")


def postgresql_trigger(table: str, what: str, events: str, each: str, function: str) -> str:
    return f"CREATE TRIGGER {table}_{what} BEFORE {events} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
