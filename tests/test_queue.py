"""`cyray.util.queue.Queue`: a queue that tasks and actors share."""

from __future__ import annotations

import threading

import pytest


@pytest.fixture
def queue(cyray_start):
    from cyray.util.queue import Queue

    made = Queue(maxsize=3)
    yield made
    made.shutdown(force=True)


def test_items_come_out_in_order(queue):
    for item in ("a", 2, None):
        queue.put(item)
    assert queue.qsize() == len(queue) == 3
    assert queue.full()
    assert [queue.get() for _ in range(3)] == ["a", 2, None]
    assert queue.empty()


def test_a_full_queue_refuses_and_an_empty_one_has_nothing(queue):
    from cyray.util.queue import Empty, Full

    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0.05)
    queue.put_nowait_batch([1, 2, 3])
    with pytest.raises(Full):
        queue.put_nowait(4)
    with pytest.raises(Full):
        queue.put(4, timeout=0.05)
    with pytest.raises(Full):
        queue.put_nowait_batch([4])
    with pytest.raises(Empty):
        queue.get_nowait_batch(4)
    assert queue.get_nowait_batch(3) == [1, 2, 3]
    with pytest.raises(ValueError):
        queue.get(timeout=-1)
    with pytest.raises(ValueError):
        queue.get(timeout=float("nan"))
    with pytest.raises(TypeError, match="timeout"):
        queue.get(timeout="1")
    with pytest.raises(TypeError, match="maxsize"):
        type(queue)(maxsize="3")


def test_a_queue_that_was_shut_down_says_so(queue):
    queue.shutdown()
    queue.shutdown()
    for use in (queue.get, queue.qsize, queue.full, lambda: queue.put(1)):
        with pytest.raises(RuntimeError, match="was shut down"):
            use()


def test_a_queue_can_be_passed_to_tasks(cyray_start, queue):
    cyray = cyray_start

    @cyray.remote
    def consumer(queue, count):
        return [queue.get(block=True) for _ in range(count)]

    result = consumer.remote(queue, 10)
    for item in range(10):
        queue.put(item)
    assert cyray.get(result) == list(range(10))


def test_put_waits_for_room(cyray_start, queue):
    cyray = cyray_start
    queue.put_nowait_batch([1, 2, 3])

    putter = threading.Thread(target=queue.put, args=(4,), kwargs={"timeout": 20})
    putter.start()
    assert queue.full() and putter.is_alive()
    assert cyray.get(cyray.remote(lambda queue: queue.get()).remote(queue)) == 1
    putter.join(20)
    assert [queue.get() for _ in range(3)] == [2, 3, 4]
