"""Files of points: what a call wrote is read again, whoever wrote it, and wherever it was cut off."""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hokusai_core import points_file
from hokusai_core.left_points import read_points
from hokusai_core.packed_points import Points
from hokusai_core.points_file import CALL_HEAD, SUFFIX, PointsFile, lock

pytestmark = pytest.mark.skipif(not points_file.files_can_be_locked(), reason="needs flock")

RUNS = st.sampled_from(["hokusai-run-" + "a" * 32, "0" * 32, 'a "run" 🎨'])
KEYS = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True).map(tuple)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Points]:
    keys = draw(KEYS)
    values = draw(st.lists(st.floats(), min_size=len(keys), max_size=len(keys)))
    return draw(RUNS), (keys, tuple(values), draw(INTEGERS), draw(INTEGERS))


def of_runs(made: Sequence[tuple[str, Points]]) -> dict[str, list[Points]]:
    found: dict[str, list[Points]] = {}
    for run_id, points in made:
        found.setdefault(run_id, []).append(points)
    return found


def plain(runs: dict[str, list[Points]]) -> str:
    """Give a text that is equal where all values are, NaN among them."""
    return repr(runs)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[PointsFile]:
    file = PointsFile(tmp_path / "points", "mlflow at home")
    yield file
    file.close()


def contents(folder: Path) -> bytes:
    (path,) = (folder / "points").glob(f"*{SUFFIX}")
    return path.read_bytes()


@settings(max_examples=60)
@given(made=st.lists(calls(), min_size=1, max_size=12), cut=st.floats(0, 1))
def test_calls_are_read_as_they_were_written_and_what_is_cut_off_is_their_beginning(
    made: list[tuple[str, Points]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("file")
    file = PointsFile(folder / "points", "mlflow at home")
    whole = [0]
    for run_id, points in made:
        file.append(run_id, points)
        whole.append(len(contents(folder)))
    data = contents(folder)
    file.clear()
    file.close()
    assert read_points(data)[0] == "mlflow at home"
    assert plain(read_points(data)[1]) == plain(of_runs(made))
    length = math.floor(cut * len(data))
    kept = max(count for count, end in enumerate(whole) if end <= length)
    assert plain(read_points(data[:length])[1]) == plain(of_runs(made[:kept]))


@settings(max_examples=60)
@given(made=st.lists(calls(), min_size=1, max_size=12), cut=st.floats(0, 1))
def test_calls_that_were_written_at_once_are_read_as_well(
    made: list[tuple[str, Points]], cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("file")
    file = PointsFile(folder / "points", "mlflow at home")
    file.extend(of_runs(made).items())
    data = contents(folder)
    file.clear()
    file.close()
    assert plain(read_points(data)[1]) == plain(of_runs(made))
    _, found = read_points(data[: math.floor(cut * len(data))])
    for run_id, beginning in found.items():
        assert plain({run_id: of_runs(made)[run_id][: len(beginning)]}) == plain(
            {run_id: beginning}
        )


def test_a_file_that_was_emptied_begins_anew(file: PointsFile, tmp_path: Path) -> None:
    for number in range(3):
        file.append("a", (("loss",), (number / 7,), number, number))
        assert read_points(contents(tmp_path)) == (
            "mlflow at home",
            {"a": [(("loss",), (number / 7,), number, number)]},
        )
        file.clear()
        assert read_points(contents(tmp_path)) == ("mlflow at home", {})


def test_a_closed_file_is_gone_and_the_next_call_makes_another(
    file: PointsFile, tmp_path: Path
) -> None:
    point: Points = (("loss",), (0.5,), 1, 1)
    file.append("a", point)
    file.clear()
    file.close()
    assert list((tmp_path / "points").iterdir()) == []
    file.append("b", point)
    assert read_points(contents(tmp_path))[1] == {"b": [point]}


def test_a_file_that_is_passed_on_is_left_and_the_next_one_is_there_already(
    file: PointsFile, tmp_path: Path
) -> None:
    point: Points = (("loss",), (0.5,), 1, 1)
    file.append("a", point)
    passed = file.pass_on()
    assert passed is not None
    descriptor = os.open(passed, os.O_RDONLY)
    assert lock(descriptor), "nobody holds it"
    os.close(descriptor)
    assert read_points(passed.read_bytes())[1] == {"a": [point]}
    (following,) = set((tmp_path / "points").iterdir()) - {passed}
    bare = following.read_bytes()
    assert read_points(bare) == ("mlflow at home", {})
    file.append("a", point)
    assert following.read_bytes()[: len(bare)] == bare, "its run and keys were there"
    assert len(following.read_bytes()) == len(bare) + CALL_HEAD.size + 8
    assert read_points(following.read_bytes())[1] == {"a": [point]}
    file.clear()
    file.append("b", point)  # shorter than what the next file began with
    file.close()
    assert read_points(following.read_bytes())[1] == {"b": [point]}


def test_names_that_came_later_are_written_again_once_the_file_was_emptied(
    file: PointsFile, tmp_path: Path
) -> None:
    first, second = ((("loss",), (value,), 1, 1) for value in (0.5, 0.25))
    file.append("a", first)
    passed = file.pass_on()
    assert passed is not None
    passed.unlink()
    for _ in range(2):
        file.append("a", first)
        file.append("b", second)
        file.append("c", second)
        file.append("a", second)
        assert read_points(contents(tmp_path))[1] == {
            "a": [first, second],
            "b": [second],
            "c": [second],
        }
        file.clear()


def test_a_file_with_very_many_names_is_followed_by_one_with_none(
    file: PointsFile, tmp_path: Path
) -> None:
    made: list[tuple[str, Points]] = [
        ("a", ((f"key {n}",), (n / 7,), n, n)) for n in range(points_file.MOST_NAMED_AHEAD + 1)
    ]
    for _ in range(2):
        for run_id, point in made:
            file.append(run_id, point)
        assert read_points(contents(tmp_path))[1] == of_runs(made)
        passed = file.pass_on()
        assert passed is not None
        passed.unlink()
        assert contents(tmp_path).endswith(b'["mlflow at home"]')


def test_where_no_next_file_can_be_made_the_next_call_makes_one(
    file: PointsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point: Points = (("loss",), (0.5,), 1, 1)
    file.append("a", point)
    plain_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: plain_write(fd, data[: len(data) // 2]))
    passed = file.pass_on()
    assert list((tmp_path / "points").iterdir()) == [passed], "half a beginning is none"
    with pytest.raises(OSError, match="bytes were written"):
        file.append("a", point)
    monkeypatch.undo()
    assert passed is not None
    passed.unlink()
    file.append("a", point)
    assert read_points(contents(tmp_path))[1] == {"a": [point]}


def test_a_file_that_holds_no_call_is_removed_at_its_end(file: PointsFile, tmp_path: Path) -> None:
    assert file.pass_on() is None, "there is none"
    file.append("a", (("loss",), (0.5,), 1, 1))
    passed = file.pass_on()
    file.close()
    assert list((tmp_path / "points").iterdir()) == [passed]


def test_many_calls_are_one_write(
    file: PointsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_runs = {
        run: [((key,), (n / 7,), n, n) for key in ("loss", "accuracy") for n in range(20)]
        for run in ("a", "b")
    }
    file.extend(of_runs.items())
    file.clear()
    writes = []
    plain_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(1) or plain_write(fd, data))
    file.extend(of_runs.items())
    file.extend(of_runs.items())
    assert len(writes) == 4 + 2, "four names, and the calls of each time"
    assert read_points(contents(tmp_path))[1] == {run: [*one, *one] for run, one in of_runs.items()}


def test_files_are_for_their_user_only(file: PointsFile, tmp_path: Path) -> None:
    file.append("a", (("loss",), (0.5,), 1, 1))
    (path,) = (tmp_path / "points").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_half_a_write_is_taken_back(
    file: PointsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: Points = (("loss",), (0.5,), 1, 1)
    file.append("a", first)
    plain_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: plain_write(fd, data[: len(data) // 2]))
    with pytest.raises(OSError, match="of 29 bytes were written"):
        file.append("a", (("loss",), (0.25,), 2, 2))
    monkeypatch.undo()
    third: Points = (("loss",), (0.125,), 3, 3)
    file.append("a", third)
    assert read_points(contents(tmp_path))[1] == {"a": [first, third]}


def test_no_call_comes_after_half_a_write_that_cannot_be_taken_back(
    file: PointsFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, size: int) -> None:
        raise OSError("no room for a copy")

    calls: list[Points] = [(("loss",), (0.5,), number, number) for number in range(3)]
    file.append("a", calls[0])
    plain_write = os.write
    monkeypatch.setattr(os, "ftruncate", refuse)
    monkeypatch.setattr(os, "write", lambda fd, data: plain_write(fd, data[: len(data) // 2]))
    with pytest.raises(OSError, match="of 29 bytes were written"):
        file.append("a", calls[1])
    monkeypatch.undo()
    file.append("a", calls[2])
    found = [read_points(path.read_bytes())[1] for path in sorted((tmp_path / "points").iterdir())]
    assert sorted(found, key=repr) == [{"a": [calls[0]]}, {"a": [calls[2]]}]


def test_zeros_at_the_end_are_no_calls(file: PointsFile, tmp_path: Path) -> None:
    """A machine that lost its power leaves them where data was to be, on some file systems."""
    call: Points = (("loss",), (0.5,), 1, 1)
    file.append("a", call)
    assert read_points(contents(tmp_path) + bytes(5000))[1] == {"a": [call]}
    with pytest.raises(ValueError, match="type 0"):
        read_points(contents(tmp_path) + bytes(5000) + b"x")


@pytest.mark.parametrize(
    "data", [b"hokusai points 2 and more", b"\0" * 40, b"hokusai points 1\7"], ids=repr
)
def test_what_another_release_wrote_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"begin|type"):
        read_points(data)
