"""The schema: migrations, roles, backups, and the index of PostgreSQL."""
