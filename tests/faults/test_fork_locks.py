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


LOGGING_INSIDE = """
    from hokusai_core.fork_gate import ForkGate
    gate = ForkGate(timeout=5.0)
    import logging, os, threading, time

    inside, done = threading.Event(), threading.Event()

    def work():
        with gate.inside():
            inside.set()
            while not gate._awaited:
                time.sleep(0.001)
            logging.getLogger("made while a fork waits")
            done.set()

    threading.Thread(target=work, daemon=True).start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if done.is_set() else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_that_waits_holds_no_lock_of_the_standard_library() -> None:
    """Who is inside the gate may have to log, or to make a logger, before it can leave."""
    done = programs.run(LOGGING_INSIDE, fresh=True)
    assert done.stdout == "0\n"
