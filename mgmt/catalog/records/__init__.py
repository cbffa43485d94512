"""The records: ORM models, their column types and enums."""
