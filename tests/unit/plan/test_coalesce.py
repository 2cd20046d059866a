"""Group commit and locks by key, under threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cnidaria.plan.coalesce import Coalescer
from cnidaria.plan.exclusive import Exclusive

PATIENCE = 30.0


def test_what_comes_meanwhile_goes_together() -> None:
    started, go_on = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def action(items: list[int]) -> int:
        batches.append(items)
        started.set()
        assert go_on.wait(PATIENCE)
        return len(items)

    coalescer: Coalescer[int, int] = Coalescer(action)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(coalescer, [0])
        assert started.wait(PATIENCE)
        others = [threads.submit(coalescer, [n]) for n in (1, 2, 3, 4)]
        while len(coalescer._waiting) < 4:
            pass
        go_on.set()
        assert first.result(PATIENCE) == 1
        assert [other.result(PATIENCE) for other in others] == [4] * 4
    assert [sorted(batch) for batch in batches] == [[0], [1, 2, 3, 4]]


def test_an_error_goes_to_all_of_the_batch_and_no_further() -> None:
    def action(items: list[int]) -> None:
        if 0 in items:
            raise OSError("zero")

    coalescer: Coalescer[int, None] = Coalescer(action)
    with pytest.raises(OSError, match="zero"):
        coalescer([0])
    coalescer([1])


def test_nothing_is_lost_or_done_twice() -> None:
    done: list[int] = []

    def action(items: list[int]) -> None:
        done.extend(items)

    coalescer: Coalescer[int, None] = Coalescer(action)
    with ThreadPoolExecutor(16) as threads:
        for future in [threads.submit(coalescer, [n]) for n in range(2000)]:
            future.result(PATIENCE)
    assert sorted(done) == list(range(2000))


def test_one_at_a_time_for_a_key() -> None:
    exclusive = Exclusive()
    inside = [0, 0]
    most = [0, 0]

    def work(n: int) -> None:
        key = n % 2
        with exclusive(key), exclusive(key):
            inside[key] += 1
            most[key] = max(most[key], inside[key])
            inside[key] -= 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(2000)))
    assert most == [1, 1]
    assert not exclusive._entries


def test_different_keys_do_not_wait() -> None:
    exclusive = Exclusive()
    with exclusive("a"), ThreadPoolExecutor(1) as threads:

        def other() -> bool:
            with exclusive("b"), exclusive.try_("a") as free:
                return free

        assert threads.submit(other).result(PATIENCE) is False
    with exclusive.try_("a") as free:
        assert free
