"""Rights that the roles of a PostgreSQL catalog (roles.py) lack, as after an upgrade that has added a column."""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from mgmt.catalog.records.metadata import METADATA
from mgmt.catalog.schema.defect import Defect
from mgmt.catalog.schema.roles import FIXED, OWNERS_ONLY, removable, updatable
from mgmt.words import shell_word

_MISSING = """
WITH granted AS (
    SELECT DISTINCT r.oid AS role, r.rolname AS name,
        has_any_column_privilege(r.oid, c.oid, 'INSERT') AS writes
    FROM pg_class c
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION SELECT * FROM aclexplode(a.attacl)) acl
    JOIN pg_roles r ON r.oid = acl.grantee
    WHERE c.oid = to_regclass('operations') AND NOT pg_has_role(r.oid, c.relowner, 'USAGE')
), parts AS (
    SELECT t.name AS relation, to_regclass(t.name) AS oid, a.attnum, a.attname
    FROM unnest(CAST(:tables AS text[])) AS t(name)
    JOIN pg_attribute a ON a.attrelid = to_regclass(t.name) AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT g.name, p.relation, w.want
FROM granted g CROSS JOIN parts p CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS w(want)
WHERE NOT CASE w.want WHEN 'DELETE' THEN has_table_privilege(g.role, p.oid, w.want)
        ELSE has_column_privilege(g.role, p.oid, p.attnum, w.want) END
    AND (w.want = 'SELECT' OR g.writes)
    AND (w.want <> 'INSERT' OR (p.relation <> ALL (CAST(:owners AS text[]))
        AND NOT (p.relation = 'operations' AND p.attname = 'seq')))
    AND (w.want <> 'UPDATE' OR (p.relation = ANY (CAST(:updatable AS text[]))
        AND p.attname <> ALL (CAST(:fixed AS text[]))))
    AND (w.want <> 'DELETE' OR p.relation = ANY (CAST(:removable AS text[])))
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def can_read(connection: Connection) -> bool:
    """Whether this login may read every table; after an upgrade it may not yet."""
    can = text("SELECT bool_and(has_table_privilege(name, 'SELECT')) FROM unnest(CAST(:tables AS text[])) AS t(name)")
    return bool(connection.scalar(can, {"tables": list(METADATA.tables)}))


def missing(connection: Connection) -> Iterator[Defect]:
    """The rights that roles which may use `operations` lack on it or on other tables."""
    lists = {
        "tables": list(METADATA.tables),
        "owners": list(OWNERS_ONLY),
        "updatable": updatable(),
        "fixed": sorted(FIXED),
        "removable": removable(),
    }
    for role, table, right in connection.execute(text(_MISSING), lists):
        prefix, _, _ = role.rpartition("_")
        option = f" --prefix {shell_word(prefix)}" if prefix not in ("", "mgmt") else ""
        yield Defect(f"the role {role} lacks {right} on {table}", f"mgmt db roles --apply{option}   # as its owner")
