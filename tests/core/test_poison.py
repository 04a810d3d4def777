"""What a server fails on each time is told apart from a server in trouble."""

from concurrent.futures import ThreadPoolExecutor

from hokusai_core.poison import CONFIRMATIONS, PoisonGuard

KIND = "log_batch"
MOST = 5


def alternating(guard: PoisonGuard, rounds: int, *, kind: str = KIND) -> None:
    """One operation fails, and then another of the kind succeeds, again and again."""
    for _ in range(rounds):
        guard.failed("bad", kind)
        guard.succeeded(kind)
    guard.failed("bad", kind)


def test_what_fails_while_others_succeed_is_poison() -> None:
    guard = PoisonGuard(MOST)
    alternating(guard, CONFIRMATIONS)
    assert guard.is_poison("bad", KIND, MOST)


def test_a_read_only_database_condemns_nobody() -> None:
    guard = PoisonGuard(MOST)
    for _ in range(1000):
        guard.failed("bad", KIND)
        guard.failed("other", KIND)
        guard.succeeded("create_run")
    assert not guard.is_poison("bad", KIND, 1000)


def test_it_takes_all_attempts() -> None:
    guard = PoisonGuard(MOST)
    alternating(guard, 10)
    assert not guard.is_poison("bad", KIND, MOST - 1)
    assert guard.is_poison("bad", KIND, MOST)


def test_attempts_of_an_outage_are_no_evidence() -> None:
    """A hundred refused connections, then one error of a server that comes back in steps."""
    guard = PoisonGuard(MOST)
    guard.succeeded(KIND)
    guard.failed("bad", KIND)
    guard.succeeded(KIND)
    assert not guard.is_poison("bad", KIND, 100)


def test_many_failures_between_two_successes_count_once() -> None:
    guard = PoisonGuard(MOST)
    for _ in range(50):
        guard.failed("bad", KIND)
    guard.succeeded(KIND)
    for _ in range(50):
        guard.failed("bad", KIND)
    assert not guard.is_poison("bad", KIND, 101)


def test_an_operation_that_never_failed_is_innocent() -> None:
    guard = PoisonGuard(MOST)
    alternating(guard, CONFIRMATIONS)
    assert not guard.is_poison("other", KIND, 100)


def test_memory_is_bounded() -> None:
    guard = PoisonGuard(MOST)
    alternating(guard, CONFIRMATIONS)
    for number in range(20_000):
        guard.failed(str(number), KIND)
    assert not guard.is_poison("bad", KIND, 100)
    assert len(guard._failures) == 10_000


def test_threads_share_one_guard() -> None:
    guard = PoisonGuard(MOST)

    def work(number: int) -> None:
        for _ in range(200):
            guard.failed(f"bad {number}", KIND)
            guard.succeeded(KIND)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    assert all(guard.is_poison(f"bad {number}", KIND, MOST) for number in range(8))
