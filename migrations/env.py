"""Alembic's environment, for `alembic` and for `mgmt db`, which passes its database in `attributes`."""

import os

import platformdirs
from alembic import context
from alembic.util import load_python_file
from sqlalchemy import URL, make_url

from mgmt.catalog.db.database import MIGRATING, Database
from mgmt.catalog.schema.migrate import OPTIONS

load_python_file(os.path.dirname(__file__), "final.py")  # registers op.keep_final


def catalog_url() -> URL:
    given = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("MGMT_CATALOG")
    if given:
        return make_url(given)
    return URL.create("sqlite", database=os.path.join(platformdirs.user_data_dir("mgmt"), "catalog.db"))


if context.is_offline_mode():
    dialect = context.config.attributes.get("dialect") or catalog_url().get_backend_name()
    context.configure(dialect_name=dialect, literal_binds=True, dialect_opts={"paramstyle": "named"}, **OPTIONS)
    with context.begin_transaction():
        for statement in MIGRATING if dialect == "postgresql" else ():
            context.execute(statement)
        context.run_migrations()
else:
    database = context.config.attributes.get("database") or Database(catalog_url())
    with database.migrating() as connection:
        context.configure(connection=connection, **OPTIONS)
        context.run_migrations()
