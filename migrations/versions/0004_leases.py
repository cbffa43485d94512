"""When a running operation sent its last heartbeat.

Revision: 0004, after 0003.

One catalog may serve many machines, which cannot look at each other's processes. The column is for people, who decide
whether a machine is dead; nothing is ever taken over because of what is in it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(sa.DateTime(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("operations", sa.Column("heard_at", TIME))


def downgrade() -> None:
    op.drop_column("operations", "heard_at")
