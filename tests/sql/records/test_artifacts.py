import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from hokusai_backend_sql.content import CHUNK_BYTES, contents
from hokusai_core.entities import FileInfo
from hokusai_core.errors import NotFoundError, RejectedError
from hokusai_core.operations import ArtifactOwner, CreateLoggedModel


def _owner(run_id):
    return ArtifactOwner(kind="run", id=run_id)


def _list(primary, owner, path=""):
    return primary.tracking.tracking_list_artifacts(owner, path, primary.deadline)


def _contents(primary):
    with primary.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(contents))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 7])
def test_a_file_comes_back_byte_for_byte(primary, tmp_path, size):
    run_id, content = primary.run(), os.urandom(size)
    primary.file(run_id, "plots/one.png", content)
    target = tmp_path / "new" / "folder" / "one.png"
    returned = primary.tracking.tracking_download_artifact(
        _owner(run_id), "plots/one.png", target, primary.deadline
    )
    assert returned == target
    assert target.read_bytes() == content


def test_folders_are_listed_one_level_at_a_time(primary):
    run_id = primary.run()
    for path in ("b.txt", "a/one", "a/two", "a/deep/three", "a-b/four", "a0/five", "%/six"):
        primary.file(run_id, path, path.encode())
    assert _list(primary, _owner(run_id)) == (
        FileInfo(path="%", is_dir=True),
        FileInfo(path="a", is_dir=True),
        FileInfo(path="a-b", is_dir=True),
        FileInfo(path="a0", is_dir=True),
        FileInfo(path="b.txt", is_dir=False, file_size=5),
    )
    assert _list(primary, _owner(run_id), "a") == (
        FileInfo(path="a/deep", is_dir=True),
        FileInfo(path="a/one", is_dir=False, file_size=5),
        FileInfo(path="a/two", is_dir=False, file_size=5),
    )
    assert _list(primary, _owner(run_id), "none") == ()
    assert _list(primary, _owner(run_id), "b.txt") == ()
    assert _list(primary, _owner(primary.unknown_id())) == ()


def test_put_overwrites_and_drops_what_nobody_refers_to(primary, tmp_path):
    run_id = primary.run()
    primary.file(run_id, "a", b"old")
    primary.file(run_id, "b", b"old")
    assert _contents(primary) == 1
    primary.file(run_id, "a", b"new")
    assert _contents(primary) == 2
    primary.file(run_id, "b", b"new")
    primary.file(run_id, "b", b"new")
    assert _contents(primary) == 1
    for path in ("a", "b"):
        target = tmp_path / path
        primary.tracking.tracking_download_artifact(_owner(run_id), path, target, primary.deadline)
        assert target.read_bytes() == b"new"


def test_one_path_written_by_many_threads_keeps_one_content(primary):
    run_id = primary.run()
    barrier = threading.Barrier(4)

    def put(number):
        barrier.wait()
        primary.file(run_id, "a", str(number).encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert _contents(primary) == 1


def test_a_path_is_a_file_or_a_folder_not_both(primary):
    run_id = primary.run()
    primary.file(run_id, "model/data", b"x")
    with pytest.raises(RejectedError, match="'model' is a folder"):
        primary.file(run_id, "model", b"x")
    with pytest.raises(RejectedError, match="'model/data' is a file"):
        primary.file(run_id, "model/data/deep/er", b"x")
    primary.file(run_id, "model2", b"x")
    assert _contents(primary) == 1


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "a//b", "a/", "."])
def test_a_path_out_of_the_root_is_refused(primary, path):
    run_id = primary.run()
    with pytest.raises(RejectedError, match="leads out of its root"):
        primary.file(run_id, path, b"x")


def test_what_is_not_there_is_not_found(primary, tmp_path):
    run_id = primary.run()
    primary.file(run_id, "a/b", b"x")
    for path in ("a", "c", "a/b/c"):
        with pytest.raises(NotFoundError, match="no artifact file"):
            primary.tracking.tracking_download_artifact(
                _owner(run_id), path, tmp_path / "x", primary.deadline
            )
    with pytest.raises(NotFoundError, match="No run"):
        primary.file(primary.unknown_id(), "a", b"x")
    with pytest.raises(NotFoundError, match="No logged model"):
        primary.file(run_id, "a", b"x", ArtifactOwner(kind="model", id="m-1"))
    assert list(tmp_path.glob("x")) == []


def test_a_logged_models_files_are_apart_from_its_runs(primary):
    experiment_id = primary.experiment()
    run_id = primary.run(experiment_id=experiment_id)
    create = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="m")
    owner = ArtifactOwner(kind="model", id=primary.write(create).primary_id)
    primary.file(run_id, "MLmodel", b"model", owner)
    primary.file(run_id, "MLmodel", b"run's own")
    assert _list(primary, owner) == (FileInfo(path="MLmodel", is_dir=False, file_size=5),)
    assert _list(primary, _owner(run_id))[0].file_size == 9
