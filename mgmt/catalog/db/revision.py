"""The revision of the schema, apart from SQLAlchemy: completion of names does without."""

HEAD = "0011"
"""The schema that this mgmt reads and writes: the newest revision in migrations/."""
