"""Runs and searches that tests of the filter language draw from."""

import math
import random

from hypothesis import strategies as st

from hokusai_core.entities import Run, RunData, RunInfo

TEXTS = (
    "a",
    "A",
    "ab",
    "a_b",
    "a%b",
    "axb",
    "a*b",
    "a[b",
    "a?b",
    "é",
    "É",
    "x\ny",
    "",
    "a\\b",
    '"q"',
)
FILLED_TEXTS = tuple(text for text in TEXTS if text)
METRICS = (0.0, -1.5, 1.0, 2.0, 1e300, math.nan)
KEYS = ("k", "K", "a b", "x.y", "x-y")
TIMES = (1_000, 2_000, 2**53 + 1)
STATUSES = ("RUNNING", "FINISHED", "FAILED")


def example_runs(count: int = 25) -> list[Run]:
    """Runs with every kind of value, the same ones in every test."""
    chance = random.Random(1)

    def some(values: tuple) -> dict:
        return {key: chance.choice(values) for key in chance.sample(KEYS, 3)}

    runs = []
    for number in range(count):
        status = chance.choice(STATUSES)
        info = RunInfo(
            run_id=f"{number:032x}",
            experiment_id="1",
            run_name=chance.choice(FILLED_TEXTS),
            status=status,
            start_time=chance.choice(TIMES),
            end_time=None if status == "RUNNING" else chance.choice(TIMES),
            user_id=chance.choice(["ann", "Bob"]),
        )
        data = RunData(metrics=some(METRICS), params=some(FILLED_TEXTS), tags=some(TEXTS))
        runs.append(Run(info=info, data=data))
    return runs


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"' if len(text) % 2 else f"'{text}'"


_PATTERNS = (*TEXTS, "a%", "%b", "_", "%", "A_", "%É%", "a_b%", "x%y")
_VALUES = st.sampled_from([text for text in TEXTS if "\\" not in text]).map(_quoted)
_LIKES = st.sampled_from([text for text in _PATTERNS if "\\" not in text]).map(_quoted)
_COMPARED_TEXT = st.one_of(
    st.tuples(st.sampled_from(["=", "!="]), _VALUES),
    st.tuples(st.sampled_from(["LIKE", "ILIKE", "like"]), _LIKES),
).map(" ".join)
_NUMERIC = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_NUMBERS = st.sampled_from(["0", "-1.5", "1", ".5", "1e300", "1E-5", "2.0"])
_INSTANTS = st.sampled_from(["1000", "1000.5", "2000", str(2**53 + 1), str(2**53), "2e3"])


def _keyed(prefixes: list[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(prefixes), st.sampled_from(KEYS)).map(
        lambda pair: f"{pair[0]}.{pair[1]}" if pair[1].isalnum() else f"{pair[0]}.`{pair[1]}`"
    )


def comparisons(run_ids: list[str]) -> st.SearchStrategy[str]:
    """One comparison in the filter language."""
    some_ids = st.lists(st.sampled_from([*run_ids, "0" * 32]), min_size=1, max_size=3)
    return st.one_of(
        st.tuples(_keyed(["metrics", "metric"]), _NUMERIC, _NUMBERS).map(" ".join),
        st.tuples(_keyed(["params", "param", "parameter"]), _COMPARED_TEXT).map(" ".join),
        st.tuples(_keyed(["tags", "tag"]), _COMPARED_TEXT).map(" ".join),
        st.tuples(
            st.sampled_from(["start_time", "attributes.end_time", "created"]), _NUMERIC, _INSTANTS
        ).map(" ".join),
        st.tuples(st.sampled_from(["run_name", "attribute.run_name"]), _COMPARED_TEXT).map(
            " ".join
        ),
        st.sampled_from(STATUSES).map(lambda status: f"run.status != '{status}'"),
        st.sampled_from(["user_id = 'ann'", "user_id ILIKE 'B%'"]),
        st.tuples(st.sampled_from(["IN", "NOT IN"]), some_ids).map(
            lambda pair: f"run_id {pair[0]} ({', '.join(map(repr, pair[1]))})"
        ),
    )


def filters(run_ids: list[str]) -> st.SearchStrategy[str]:
    """A filter of up to three comparisons."""
    return st.lists(comparisons(run_ids), max_size=3).map(" AND ".join)


ORDERS = st.lists(
    st.tuples(
        st.one_of(
            _keyed(["metrics"]),
            _keyed(["params"]),
            _keyed(["tags"]),
            st.sampled_from(["start_time", "end_time", "run_name", "status"]),
        ),
        st.sampled_from(["", " ASC", " DESC", " desc"]),
    ),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: tuple("".join(pair) for pair in pairs))
"""Keys to sort by, none of them twice."""
