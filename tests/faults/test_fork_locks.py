"""A fork while other threads are inside: the child's own locks are free."""

from tests.acceptance import programs

PROGRAM = """
    import os, threading
    from hokusai_core import ExperimentManager, Settings, runtime
    from hokusai_core.testing import MockBackend

    def hold(lock):
        held = threading.Event()

        def inside():
            with lock:
                held.set()
                threading.Event().wait()

        threading.Thread(target=inside, daemon=True).start()
        held.wait()

    backend = MockBackend()
    manager = ExperimentManager("forked", backend=backend)
    run = manager.start_run()
    for lock in (manager._own._lock, run._lock, run._timestamps._lock, runtime._RUNTIMES_LOCK):
        hold(lock)
    child = os.fork()
    if child == 0:
        run.log_metric("loss", 0.5)
        manager.search_runs()
        assert run.known_run().data.metrics == {"loss": 0.5}
        assert ExperimentManager("another", backend=backend).start_run().run_id
        os._exit(7)
    done = threading.Event()
    threading.Thread(target=lambda: done.wait(30) or os.kill(child, 9), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    os._exit(code)
"""


def test_a_forked_child_waits_for_no_lock_of_its_parents_threads() -> None:
    programs.run(PROGRAM, code=7, PYTHONWARNINGS="ignore", HOKUSAI_FALLBACK="none")
