"""The object that carries the hooks of all three specifications over one database."""

from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal import SqlJournal
from hokusai_backend_sql.registry import SqlRegistry
from hokusai_backend_sql.tracking import SqlTracking


class SqlBackend(SqlTracking, SqlRegistry, SqlJournal):
    """Experiments, registered models and the journal in one database.

    Args:
        database: Where everything is stored.

    """

    def __init__(self, database: Database) -> None:
        SqlTracking.__init__(self, database)
        SqlRegistry.__init__(self, database)
        SqlJournal.__init__(self, database)

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self.journal_close()
