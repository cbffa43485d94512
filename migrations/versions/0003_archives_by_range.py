"""Archives find their members by a range of ids.

Revision: 0003, after 0002.

Two indexes over all members were a sixth of the catalog. The members of an archive were written in one go, so two
small tables can stand for them. The trigrams of names are kept of blocks of 32 members, in a quarter of the space;
which are looked at one by one until the next upload, or rebuild, has indexed them again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "member_ranges",
        sa.Column("archive_id", BIG, nullable=False, autoincrement=False),
        sa.Column("first_id", BIG, nullable=False),
        sa.Column("last_id", BIG, nullable=False),
        sa.PrimaryKeyConstraint("archive_id", name="pk_member_ranges"),
        sa.ForeignKeyConstraint(["archive_id"], ["files.id"], name="fk_member_ranges_archive_id_files"),
    )
    op.create_index("ix_member_ranges_last_id", "member_ranges", ["last_id"])
    op.execute(
        "INSERT INTO member_ranges (archive_id, first_id, last_id) "
        "SELECT archive_id, min(id), max(id) FROM members GROUP BY archive_id"
    )
    op.create_table(
        "directory_archives",
        sa.Column("directory_id", BIG, nullable=False, autoincrement=False),
        sa.Column("archive_id", BIG, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("directory_id", "archive_id", name="pk_directory_archives"),
        sa.ForeignKeyConstraint(
            ["directory_id"], ["directories.id"], name="fk_directory_archives_directory_id_directories"
        ),
        sa.ForeignKeyConstraint(["archive_id"], ["files.id"], name="fk_directory_archives_archive_id_files"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO directory_archives (directory_id, archive_id) "
        "SELECT DISTINCT directory_id, archive_id FROM members"
    )
    # Not CONCURRENTLY, which cannot be part of a transaction: readers wait from here to the commit, some milliseconds.
    op.drop_index("ix_members_directory_id", "members")
    op.drop_index("ix_members_archive_id", "members")
    forget_names()


def downgrade() -> None:
    # Not CONCURRENTLY, which cannot be part of a transaction: uploads wait for these two, readers do not.
    op.create_index("ix_members_archive_id", "members", ["archive_id"])
    op.create_index("ix_members_directory_id", "members", ["directory_id"])
    op.drop_table("directory_archives")
    op.drop_table("member_ranges")
    forget_names()


def forget_names() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("INSERT INTO member_names (member_names) VALUES ('delete-all')")
        op.execute("UPDATE member_names_mark SET indexed_to = 0")
