import pytest
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery


def test_an_empty_journal_reads_as_nothing(journal: Journal) -> None:
    assert journal.journal_read(EntryQuery()) == ()
