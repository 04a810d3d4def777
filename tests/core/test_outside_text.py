"""Texts of others, in errors and in what the journal is given, can be stored and printed."""

import pickle

import pytest

from hokusai_core.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    HokusaiError,
    RejectedError,
    UnavailableError,
)
from hokusai_core.journal import Entry, Release, Settlement
from hokusai_core.operations import LogBatch, MetricPoint

BAD = "cut \ud83d, nul \x00, kept é 🎉"
GOOD = "cut ?, nul \ufffd, kept é 🎉"
BATCH = LogBatch(run_id="r" * 32, metrics=(MetricPoint(key="m", value=1.0, timestamp=1),))


@pytest.mark.parametrize(
    "kind",
    [HokusaiError, UnavailableError, CredentialsRejectedError, RejectedError, ConfigurationError],
)
def test_the_message_of_every_error_can_be_stored(kind: type[HokusaiError]) -> None:
    failure = kind(BAD)
    assert str(failure) == GOOD
    assert str(pickle.loads(pickle.dumps(failure))) == GOOD


def test_what_the_journal_is_given_can_be_stored() -> None:
    assert Entry(BATCH, "here", error=BAD).error == GOOD
    assert Settlement(op_id="a", outcome="dead", error=BAD).error == GOOD
    release = Release(error=BAD, waiting_for=BAD)
    assert (release.error, release.waiting_for) == (GOOD, GOOD)
