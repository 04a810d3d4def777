"""The SQL backend of Hokusai: PostgreSQL and SQLite, as primary and as journal."""
