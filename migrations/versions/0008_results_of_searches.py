"""A search keeps its results: the paths and keys that it found, and the one that was picked.

Revision: 0008, after 0007.

The columns with counts and flags stay as they are: the hashes of finished searches cover them. A search from before
this revision has NULL in the new columns, and NULL is no part of a hash.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

ADDED = (
    ("local_paths", sa.JSON()),
    ("s3_keys", sa.JSON()),
    ("downloaded_key", TEXT),
    ("checked_key", TEXT),
)
HASHED = (
    "SELECT 1 FROM searches s JOIN operations o ON o.operation_id = s.operation_id WHERE o.sha256 IS NOT NULL "
    "AND coalesce(CAST(s.local_paths AS TEXT), CAST(s.s3_keys AS TEXT), s.downloaded_key, s.checked_key) IS NOT NULL "
    "LIMIT 1"
)


def upgrade() -> None:
    for name, kind in ADDED:
        op.add_column("searches", sa.Column(name, kind))


def downgrade() -> None:
    if not op.get_context().as_sql and op.get_bind().execute(sa.text(HASHED)).first():
        raise CommandError(
            "finished searches have results that their hashes cover, and an older mgmt has no place for; "
            "remove them first: mgmt db prune --type search --before 0s"
        )
    for name, _ in reversed(ADDED):
        op.drop_column("searches", name)
