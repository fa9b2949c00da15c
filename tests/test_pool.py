"""util.multiprocessing: the calls of multiprocessing.Pool, and what happens to a pool whose parts fail."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import sys
import threading
import time
import weakref

import pytest
from support import eventually, is_running, run_driver

import cyray
from cyray import _raylet
from cyray.test_utils import SignalActor
from cyray.util.multiprocessing import JoinableQueue, Pool, TimeoutError

INIT = {"num_cpus": 4}
pytestmark = pytest.mark.usefixtures("shared_session")


def square(x):
    return x * x


def add(a, b=0, *, c=0):
    return a + b + c


def fail_at(x, bad=3):
    if x == bad:
        raise KeyError(x)
    return x


def pid(_):
    return os.getpid()


def die(_):
    os._exit(1)


@pytest.fixture
def pool():
    with Pool(2) as made:
        yield made


def test_values_come_in_order(pool):
    assert pool.map(square, range(20)) == [x * x for x in range(20)]
    assert pool.map(square, range(7), chunksize=3) == [x * x for x in range(7)]
    assert pool.map(square, []) == []
    assert pool.starmap(add, [(1, 2), (3,)]) == [3, 3]
    assert pool.apply(add, (1,), {"b": 2}) == pool.apply(add, [1], kwds={"b": 2}) == 3
    assert list(pool.imap(square, range(20), chunksize=3)) == [x * x for x in range(20)]
    assert sorted(pool.imap_unordered(square, range(20))) == [x * x for x in range(20)]


def test_functions_and_values_of_this_program_travel(pool):
    offset = 10
    assert pool.map(lambda x: x + offset, [1, 2]) == [11, 12]
    assert pool.apply(dict, (), {"a": 1}) == {"a": 1}


def test_results_are_there_later():
    signal = SignalActor.remote()
    with Pool(2) as pool:
        result = pool.apply_async(lambda s: cyray.get(s.wait.remote()), (signal,))
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        with pytest.raises(TimeoutError):
            result.get(timeout=0.01)
        result.wait(0.01)
        cyray.get(signal.send.remote())
        assert result.get(timeout=30) is None and result.ready() and result.successful()
    assert TimeoutError is multiprocessing.TimeoutError


def test_callbacks_are_called_with_the_result_or_the_error(pool):
    news = []
    came = threading.Semaphore(0)

    def note(value):
        news.append(value)
        came.release()

    pool.apply_async(add, (1, 2), callback=note)
    assert came.acquire(timeout=30)
    pool.map_async(square, [1, 2], callback=lambda values: note(pool.apply(sum, (values,))))
    assert came.acquire(timeout=30), "a callback may use the pool"
    pool.map_async(fail_at, range(5), callback=note, error_callback=note)
    assert came.acquire(timeout=30)
    assert news[:2] == [3, 5] and isinstance(news[2], KeyError)
    pool.starmap_async(add, [(1, 2)], callback=note).get()
    assert came.acquire(timeout=30) and news[3] == [3]


@pytest.mark.parametrize("item", [1, 3])
def test_a_result_is_there_and_join_returns_when_its_callback_has_ended(item):
    pool = Pool(1)
    began, go_on, ended = threading.Event(), threading.Event(), []

    def note(value):
        began.set()
        assert go_on.wait(30)
        ended.append(value)

    result = pool.apply_async(fail_at, (item,), callback=note, error_callback=note)
    assert began.wait(30)
    with pytest.raises(TimeoutError):
        result.get(timeout=0)
    pool.close()
    joining, told = in_thread(pool.join)
    eventually(lambda: pool._joining)
    go_on.set()
    result.wait(30)
    assert len(ended) == 1 and result.successful() == (item == 1)
    joining.join(30)
    assert told == [None]


@pytest.mark.timeout(60)
def test_a_task_waits_for_its_result_and_not_for_others_while_a_callback_runs(gate):
    @cyray.remote(num_cpus=0)
    def use(path):
        with Pool(2) as pool:
            held = pool.apply_async(lambda: open(path).close())
            told = []
            got = pool.apply_async(
                square, (3,), callback=lambda n: (time.sleep(0.2), told.append(n))
            )
            assert got.get() == 9 and told == [9]
            assert not held.ready()

    cyray.get(use.remote(gate.path))


def test_a_callback_that_exits_is_told_of_and_the_next_one_is_called(capfd):
    with Pool(1) as pool:
        assert pool.apply_async(square, (3,), callback=sys.exit).get() == 9
        told = []
        assert pool.apply_async(square, (4,), callback=told.append).get() == 16
        assert told == [16]
    assert "SystemExit" in capfd.readouterr().err


def test_a_callback_that_would_wait_for_itself_is_told():
    pool = Pool(1)
    go_on, told = threading.Event(), []

    def note(_value):
        assert go_on.wait(30)
        told.append(pool.apply(square, (3,)))
        pool.close()
        for waiting in (pool.join, result.get):
            try:
                waiting()
            except RuntimeError as error:
                told.append(str(error))

    result = pool.apply_async(square, (2,), callback=note)
    go_on.set()
    assert result.get(timeout=30) == 4
    assert told[0] == 9 and told[1] == told[2] and "callback of a pool" in told[1]
    pool.join()


def test_errors_are_what_the_function_raised(pool):
    with pytest.raises(KeyError, match="fail_at"):
        pool.apply(fail_at, (3,))
    with pytest.raises(KeyError):
        pool.map(fail_at, range(10), chunksize=4)
    result = pool.map_async(fail_at, range(10))
    result.wait()
    assert not result.successful()
    items = pool.imap(fail_at, range(6), chunksize=4)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(items)
    assert list(items) == [4, 5], "one error does not end the others"
    assert pool.map(square, [2]) == [4]


def test_what_does_not_pickle_fails_its_own_call(pool):
    with pytest.raises(TypeError, match="Could not serialize"):
        pool.apply(square, (threading.Lock(),))
    with pytest.raises(TypeError, match="Could not serialize"):
        pool.apply(lambda: threading.Lock())
    assert pool.apply(square, (3,)) == 9


def test_an_iterable_is_read_as_results_are_taken(pool):
    read = []

    def endless():
        for i in itertools.count():
            read.append(i)
            yield i

    results = pool.imap(square, endless())
    assert [next(results) for _ in range(10)] == [x * x for x in range(10)]
    assert len(read) <= 10 + 4
    with pytest.raises(TimeoutError):
        pool.imap(lambda _: threading.Event().wait(), [1]).next(timeout=0.01)


def test_each_process_is_initialised_and_has_its_state():
    def initialise(value):
        os.environ["POOL_VALUE"] = value

    with Pool(2, initialise, ("x",)) as pool:
        assert pool.map(lambda _: os.environ["POOL_VALUE"], range(4)) == ["x"] * 4


def test_an_initializer_that_raises_is_told():
    def initialise():
        raise ValueError("no data")

    with Pool(1, initialise) as pool:
        for _ in range(2):
            with pytest.raises(cyray.exceptions.ActorDiedError, match="no data"):
                pool.apply(square, (1,))


def test_a_process_is_replaced_after_its_chunks():
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(pid, (0,)) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


def test_a_process_that_dies_fails_its_chunk_and_is_replaced(pool):
    with pytest.raises(cyray.exceptions.ActorDiedError):
        pool.apply(die, (0,))
    assert pool.map(square, range(10)) == [x * x for x in range(10)]
    assert len(set(pool.map(pid, range(40), chunksize=1))) <= 2


def test_processes_are_on_actors_with_these_options():
    with Pool(2, ray_remote_args={"num_cpus": 2}) as pool:
        pool.map(square, range(4))
        eventually(lambda: cyray.available_resources().get("CPU", 0) == 0)
    eventually(lambda: cyray.available_resources().get("CPU", 0) == 4)


def test_close_and_join_let_all_calls_end():
    pool = Pool(2)
    results = pool.map_async(square, range(20), chunksize=1)
    items = pool.imap(square, range(30))
    processes = set(pool.map(pid, range(20)))
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    for call in (pool.map, pool.map_async, pool.imap, pool.imap_unordered, pool.starmap):
        with pytest.raises(ValueError, match="not running"):
            call(square, [1])
    pool.join()
    assert results.ready() and results.get()[-1] == 361
    assert list(items) == [x * x for x in range(30)]
    assert eventually(lambda: not any(map(is_running, processes))) is not False
    pool.join()


def hold(signal):
    cyray.get(signal.wait.remote())


def endless(value):
    while True:
        yield value


@pytest.mark.parametrize("imap", ["imap", "imap_unordered"])
def test_nobody_waits_for_ever_for_a_pool_that_was_terminated(imap):
    signal = SignalActor.remote()
    pool = Pool(1)
    running = pool.apply_async(hold, (signal,))
    waiting = pool.map_async(hold, [signal] * 3, chunksize=1)
    items = getattr(pool, imap)(hold, endless(signal))
    eventually(lambda: cyray.get(signal.cur_num_waiters.remote()) == 1)
    told = []

    def consume():
        try:
            next(items)
        except RuntimeError as error:
            told.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    eventually(lambda: items._waiting)
    pool.terminate()
    consumer.join(30)
    assert told == ["the pool was terminated"]
    for result in (running, waiting):
        result.wait(30)
        with pytest.raises(RuntimeError, match="terminated"):
            result.get(timeout=30)
    for _ in range(5):  # also where nothing of it was given any more
        with pytest.raises(RuntimeError, match="terminated"):
            items.next(timeout=30)
    pool.join()
    pool.terminate()


class Halting:
    """Gives 0, 1, ... and stops at `at` until it may go on."""

    def __init__(self, at):
        self.at, self.reached, self.go = at, threading.Event(), threading.Event()

    def __iter__(self):
        for i in itertools.count():
            if i == self.at:
                self.reached.set()
                assert self.go.wait(30)
                return
            yield i


def in_thread(work):
    """Runs it in a thread, and returns that and the list that gets what it returns or raises."""
    told = []

    def run():
        try:
            told.append(work())
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, told


def test_several_threads_may_take_results_while_one_reads_the_iterable():
    numbers = Halting(at=2)
    with Pool(1) as pool:
        items = pool.imap(square, numbers)
        assert next(items) == 0
        reader, read = in_thread(lambda: next(items))
        assert numbers.reached.wait(30)
        assert items.next(timeout=30) == 1, "what is there is given while another one reads"
        other, waited = in_thread(lambda: next(items))
        numbers.go.set()
        reader.join(30)
        other.join(30)
        assert [type(each) for each in read + waited] == [StopIteration] * 2


def test_join_reads_an_iterable_while_others_take_results():
    numbers = Halting(at=6)
    pool = Pool(1)
    items = pool.imap(square, numbers)
    pool.close()
    joining, joined = in_thread(pool.join)
    assert numbers.reached.wait(30)
    assert [items.next(timeout=30) for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    assert joined == []
    numbers.go.set()
    joining.join(30)
    assert joined == [None] and list(items) == []


def test_terminate_wakes_who_waits_while_another_thread_reads_the_iterable():
    numbers = Halting(at=2)
    pool = Pool(1)
    items = pool.imap(square, numbers)
    assert next(items) == 0
    reader, read = in_thread(lambda: next(items))
    assert numbers.reached.wait(30)
    assert next(items) == 1
    other, waited = in_thread(lambda: next(items))
    eventually(lambda: items._waiting)
    pool.terminate()
    other.join(30)
    assert "terminated" in str(waited)
    pool.join()
    numbers.go.set()
    reader.join(30)
    assert isinstance(read[0], (RuntimeError, StopIteration))


@pytest.mark.parametrize("imap", ["imap", "imap_unordered"])
def test_what_an_iterable_raises_comes_from_next(imap):
    def broken():
        yield 3
        raise LookupError("no more")

    pool = Pool(1)
    items = getattr(pool, imap)(square, broken())
    pool.close()
    pool.join()
    got = []
    for _ in range(2):
        try:
            got.append(next(items))
        except LookupError as error:
            got.append(str(error))
    assert sorted(map(str, got)) == ["9", "no more"] and list(items) == []


@pytest.mark.parametrize("imap", ["imap", "imap_unordered"])
def test_an_iterator_goes_on_after_the_death_of_a_process(pool, imap):
    items = getattr(pool, imap)(lambda x: os._exit(1) if x == 1 else x, range(6))
    got = []
    for _ in range(6):
        try:
            got.append(items.next(timeout=30))
        except cyray.exceptions.ActorDiedError:
            got.append(1)
    assert sorted(got) == list(range(6)) and list(items) == []
    doomed = pool.apply_async(die, (0,))
    pool.close()
    pool.join()
    doomed.wait(30)
    assert not doomed.successful()


def test_what_is_given_to_a_pool_that_has_ended_meanwhile_is_told():
    class Ends:
        def __iter__(self):
            pool.close()
            pool.join()
            return iter([1, 2])

    for call in ("map_async", "imap", "imap_unordered"):
        pool = Pool(1)
        result = getattr(pool, call)(square, Ends())
        with pytest.raises(RuntimeError, match="the pool was closed"):
            result.get(timeout=30) if call == "map_async" else result.next(timeout=30)


def test_join_reads_an_iterable_that_is_given_meanwhile():
    class Closes:
        def __iter__(self):
            pool.close()
            self.joining = in_thread(pool.join)
            eventually(lambda: pool.is_joining)
            return iter(range(9))

    pool = Pool(1)
    held = pool.apply_async(hold, (signal := SignalActor.remote(),))  # join has to wait
    numbers = Closes()
    items = pool.imap(square, numbers)
    cyray.get(signal.send.remote())
    numbers.joining[0].join(30)
    assert numbers.joining[1] == [None] and held.ready()
    assert list(items) == [x * x for x in range(9)]


def test_processes_for_which_there_is_no_room_hold_up_nobody():
    with Pool(4, ray_remote_args={"num_cpus": 2}) as pool:  # two of them fit
        assert pool.map(square, range(12), chunksize=1) == [x * x for x in range(12)]
        assert list(pool.imap(square, range(12))) == [x * x for x in range(12)]
        pool.close()
        pool.join()
    eventually(lambda: cyray.available_resources().get("CPU", 0) == 4)

    signal = SignalActor.remote()
    pool = Pool(1)
    result = pool.map_async(lambda s: cyray.get(s.wait.remote()), [signal] * 3)
    items = pool.imap(square, [1])
    eventually(lambda: cyray.get(signal.cur_num_waiters.remote()) == 1)
    pool.terminate()
    with pytest.raises(RuntimeError, match="terminated"):
        result.get(timeout=30)
    with pytest.raises(RuntimeError, match="terminated"):
        next(items)
    pool.join()


@pytest.mark.parametrize("how", ["dropped", "ended while it starts another"])
def test_processes_that_never_found_room_end_with_their_pool(how):
    @cyray.remote(num_cpus=4)
    class Holder:
        def pid(self):
            return os.getpid()

    def living():
        rows = [row for row in _raylet.list_actors() if row["class_name"] == "_PoolActor"]
        return [row["actor_id"] for row in rows if row["state"] != "Dead"]

    eventually(lambda: not living())
    holder = Holder.remote()
    cyray.get(holder.pid.remote(), timeout=20)
    pool = Pool(2, ray_remote_args={"num_cpus": 1})
    eventually(lambda: len(living()) == 2)
    if how == "dropped":
        gone = weakref.ref(pool)
        del pool
        gc.collect()
        assert gone() is None
    else:
        pool.terminate()
        pool._start()
    eventually(lambda: not living(), what="processes that wait for room")
    cyray.kill(holder)


@pytest.mark.timeout(120)
def test_a_pool_in_a_task_lets_others_have_its_cpu():
    @cyray.remote(num_cpus=2)  # two of them leave none for the processes of their pools
    def inner(n):
        with Pool(1) as pool:
            return sum(pool.map(square, range(n))) + sum(pool.imap(square, range(n)))

    assert cyray.get([inner.remote(4) for _ in range(3)]) == [28] * 3


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Pool(5), ValueError, "5 processes.*4 CPUs"),
        (lambda: Pool(0), ValueError, "at least 1"),
        (lambda: Pool("2"), TypeError, "processes"),
        (lambda: Pool(1, "x"), TypeError, "initializer"),
        (lambda: Pool(1, maxtasksperchild=0), ValueError, "maxtasksperchild"),
        (lambda: Pool(1, context=multiprocessing.get_context("fork")), ValueError, "context"),
        (lambda: Pool(1, ray_remote_args={"cpus": 1}), ValueError, "cpus"),
        (
            lambda: Pool(1, ray_remote_args={"num_cpus": 8, "resources": {"no": 1}}),
            ValueError,
            r"needs \{'CPU': 8.0, 'no': 1.0\}.*most .*\{'CPU': 4.0, 'no': 0\}",
        ),
        (lambda: Pool(1).map(square, [1], chunksize=0), ValueError, "chunksize"),
        (lambda: Pool(1).apply(3), TypeError, "functions"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_pool_has_as_many_processes_as_the_cluster_has_cpus():
    with Pool() as pool:
        assert pool.size == 4


def test_a_joinable_queue_waits_until_all_is_done():
    queue = JoinableQueue(maxsize=5)

    @cyray.remote
    def work(queue):
        for _ in range(3):
            queue.get()
            queue.task_done()

    for i in range(3):
        queue.put(i)
    done = work.remote(queue)
    queue.join()
    cyray.get(done)
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    queue.shutdown()


def test_the_end_of_the_session_is_told_to_who_waits(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import threading
        import cyray
        from cyray.test_utils import SignalActor
        from cyray.util.multiprocessing import Pool

        cyray.init(num_cpus=1)
        signal = SignalActor.remote()
        pool = Pool(1)
        result = pool.map_async(lambda s: cyray.get(s.wait.remote()), [signal] * 2, chunksize=1)
        items = pool.imap(abs, iter(int, 1))
        while not cyray.get(signal.cur_num_waiters.remote()):
            pass
        cyray.shutdown()
        try:
            result.get(timeout=30)
        except RuntimeError as error:
            print(type(error).__name__, result.ready())
        for _ in range(3):
            try:
                items.next(timeout=30)
            except RuntimeError as error:
                print(type(error).__name__)
        pool.terminate()
        pool.join()
        """,
    )
    assert out == "RuntimeError True\n" + "RuntimeError\n" * 3
