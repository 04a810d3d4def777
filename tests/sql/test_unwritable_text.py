"""A text that a driver cannot write ends in an error of Hokusai's, not of the driver's."""

from pathlib import Path

import pytest
from sqlalchemy import text

from hokusai_backend_sql.engine import Database
from hokusai_core.errors import HokusaiError, JournalUnavailableError, RejectedError
from hokusai_core.plugins import Role
from hokusai_core.settings import Settings

HALF = "half \ud83d"


@pytest.mark.parametrize(
    ("role", "kind"), [("journal", JournalUnavailableError), ("primary", RejectedError)]
)
def test_half_a_surrogate_pair_is_told_as_an_error_of_the_role(
    tmp_path: Path, role: Role, kind: type[HokusaiError]
) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db", Settings.load(data_dir=tmp_path), role)
    with pytest.raises(kind, match="cannot hold a text"), database.begin() as connection:
        connection.execute(text("SELECT :value"), {"value": HALF})
    with pytest.raises(kind, match="cannot hold a text"):
        database.run_alone("SELECT ?", (HALF,))
    with database.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.close()
