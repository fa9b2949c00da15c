"""shutdown() while other threads are in the midst of pickling, unpickling and waiting.

`Halt` stops its thread inside pickle until the test lets it go on; in between the session ends, and in
half of the cases another one begins. Whoever was in the midst of something is told so, and nothing of
the old session is taken for a part of the new one.
"""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
import pytest
from support import eventually

import cyray

BIG = 1 << 20


class Halt:
    """Stops whoever pickles it (`when="pickled"`) or makes it again, until `go_on` is set."""

    reached = threading.Event()
    go_on = threading.Event()
    times = 0

    def __init__(self, when: str, payload: object = None) -> None:
        self.when = when
        self.payload = payload

    @classmethod
    def here(cls) -> None:
        cls.times += 1
        cls.reached.set()
        assert cls.go_on.wait(30)

    def __reduce__(self):
        if self.when == "pickled":
            Halt.here()
        return _made_again, (self.when, self.payload)


def _made_again(when: str, payload: object) -> Halt:
    if when == "unpickled":
        Halt.here()
    return Halt(when, payload)


@pytest.fixture(autouse=True)
def fresh_halt():
    Halt.reached.clear()
    Halt.go_on.clear()
    Halt.times = 0
    yield
    Halt.go_on.set()
    cyray.shutdown()


@cyray.remote
def identity(value):
    return value


@cyray.remote
class Box:
    def __init__(self, value=None):
        self.value = value

    def keep(self, value, *, name=None):
        return value


def put_large():
    return cyray.put(Halt("pickled", np.zeros(BIG, dtype=np.uint8)))


def bound_method():
    return Box.remote().keep.remote


def of_task():
    return identity.remote


@pytest.fixture(params=["shut down", "another session"])
def ends(request):
    """Ends the session, and may begin another."""

    def end() -> None:
        cyray.shutdown()
        if request.param == "another session":
            cyray.init(num_cpus=1)

    return end


def in_thread(work, end):
    """What `work()` raised or gave, when the session ended while it halted."""
    outcome = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert Halt.reached.wait(30)
    end()
    Halt.go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    return outcome[0]


def assert_told(outcome):
    assert type(outcome) is RuntimeError, repr(outcome)
    assert "shut down" in str(outcome)


def assert_a_session_works():
    if not cyray.is_initialized():
        cyray.init(num_cpus=1)
    array = np.arange(BIG // 8)
    assert (cyray.get(identity.remote(array)) == array).all()
    box = Box.remote(1)
    assert cyray.get(box.keep.remote(5, name="n")) == 5
    assert cyray.get(cyray.put(array))[-1] == array[-1]


@pytest.mark.parametrize("make", [of_task, bound_method], ids=["task", "actor call"])
@pytest.mark.parametrize("large", [False, True])
def test_a_call_whose_argument_is_pickled_during_shutdown_is_told(make, large, ends):
    cyray.init(num_cpus=1)
    call = make()
    ref = cyray.put(1)
    payload = np.zeros(BIG, dtype=np.uint8) if large else ref
    assert_told(in_thread(lambda: call(Halt("pickled", payload)), ends))
    assert_a_session_works()


def test_a_call_whose_keyword_argument_is_pickled_during_shutdown_is_told(ends):
    cyray.init(num_cpus=1)
    call = Box.remote().keep.remote
    assert_told(in_thread(lambda: call(1, name=Halt("pickled")), ends))
    assert_a_session_works()


def test_an_actor_whose_argument_is_pickled_during_shutdown_is_not_made(ends):
    cyray.init(num_cpus=1)
    assert_told(in_thread(lambda: Box.remote(Halt("pickled", cyray.put(2))), ends))
    assert_a_session_works()


@pytest.mark.parametrize("payload", [None, BIG])
def test_a_put_whose_value_is_pickled_during_shutdown_is_told_and_starts_nothing(payload, ends):
    cyray.init(num_cpus=1)
    value = Halt("pickled", payload and np.zeros(payload, dtype=np.uint8))
    connected = []

    def end() -> None:
        ends()
        connected.append(cyray.is_initialized())

    assert_told(in_thread(lambda: cyray.put(value), end))
    assert cyray.is_initialized() == connected[0]
    assert_a_session_works()


def test_values_that_were_read_are_whole_although_unpickling_outlasts_the_session(ends):
    cyray.init(num_cpus=1)
    refs = [cyray.put(Halt("unpickled", np.full(BIG, i, dtype=np.uint8))) for i in range(4)] + [
        cyray.put(7),
        cyray.put("text" * 100),
    ]
    got = in_thread(lambda: cyray.get(refs), ends)
    assert Halt.times == 4
    assert [int(value.payload[-1]) for value in got[:4]] == [0, 1, 2, 3]
    assert got[4:] == [7, "text" * 100]
    assert_a_session_works()
    assert [int(value.payload.sum()) for value in got[:4]] == [i * BIG for i in range(4)]


def test_a_writable_value_is_whole_although_unpickling_outlasts_the_session(ends):
    cyray.init(num_cpus=1)
    refs = [
        cyray.put([Halt("unpickled", np.full(BIG, i, dtype=np.uint8)), np.full(BIG, i)])
        for i in range(2)
    ]
    got = in_thread(lambda: cyray.get(refs, writable=True), ends)
    for i, (halt, array) in enumerate(got):
        array[0] += 1
        assert halt.payload[-1] == i and list(array[:2]) == [i + 1, i]
    assert_a_session_works()
    assert int(got[1][1][-1]) == 1


def test_refs_inside_a_value_that_outlasts_its_session_are_refused(ends):
    cyray.init(num_cpus=1)
    inner = cyray.put("inner")
    outer = [cyray.put(Halt("unpickled")), cyray.put([inner, np.zeros(BIG)])]
    assert_told(in_thread(lambda: cyray.get(outer), ends))
    assert_a_session_works()


def test_futures_made_while_a_session_ends_are_told(monkeypatch):
    """From a thread that asks for futures without a pause, in one session after the other."""
    monkeypatch.setenv("CYRAY_ENABLE_AUTO_CONNECT", "0")
    strange = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                ref = identity.remote(1) if cyray.is_initialized() else None
                future = ref.future() if ref is not None else None
            except (RuntimeError, ConnectionError):
                continue
            try:
                if future is not None and future.result(30) != 1:
                    strange.append("another value")
            except (RuntimeError, cyray.exceptions.RayError):
                pass
            except BaseException as error:
                strange.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    try:
        for number in range(5):
            cyray.init(num_cpus=1)
            for thread in threads if number == 0 else ():
                thread.start()
            assert cyray.get(identity.remote(number)) == number
            cyray.shutdown()
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join(60)
    assert strange == []
    assert not any(thread.is_alive() for thread in threads)


class Busy:
    """Gives the GIL away while it is pickled and made again."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self):
        for _ in range(20):
            threading.Event().wait(0)
        return _busy_again, (self.array,)


def _busy_again(array: np.ndarray) -> Busy:
    for _ in range(20):
        threading.Event().wait(0)
    return Busy(array)


def test_sessions_end_while_threads_pickle_and_unpickle(monkeypatch):
    monkeypatch.setenv("CYRAY_ENABLE_AUTO_CONNECT", "0")
    strange = []
    stop = threading.Event()
    running = threading.Event()  # a session; the threads would keep init from the GIL
    rounds = []

    def work(number: int) -> None:
        array = np.full(BIG // 4, number % 251, dtype=np.uint8)
        while not stop.is_set():
            try:
                if not running.wait(0.1):
                    continue
                if number % 3 == 0:
                    values = cyray.get([cyray.put(Busy(array)) for _ in range(3)])
                elif number % 3 == 1:
                    values = [cyray.get(identity.remote(Busy(array)))]
                else:
                    values = [cyray.get(Box.remote(Busy(array)).keep.remote(Busy(array)))]
            except (RuntimeError, ConnectionError, cyray.exceptions.RayError):
                continue
            rounds.append(number)
            if not all((value.array == array).all() for value in values):
                strange.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            cyray.init(num_cpus=2)
            running.set()
            seen = len(rounds)
            eventually(lambda seen=seen: len(rounds) > seen + 3, 30)
            cyray.shutdown()
            running.clear()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert strange == []
    assert not any(thread.is_alive() for thread in threads)


class EndsTheSession:
    """Garbage with a finalizer: `end()` runs in the collection that finds it."""

    def __init__(self, end) -> None:
        self.cycle = self
        self.end = end

    def __del__(self) -> None:
        self.end()


def get_with_a_collection(refs, allocation, end):
    """What `get(refs)` gives or raises when that allocation of a container collects garbage."""
    gc.collect()
    unused = [[] for _ in range(100)]  # lists that Python keeps at hand are no allocations
    EndsTheSession(end)
    before = gc.get_threshold()
    try:
        gc.set_threshold(gc.get_count()[0] + allocation)
        gc.enable()
        return cyray.get(refs)
    except RuntimeError as error:
        return error
    finally:
        gc.disable()
        gc.set_threshold(*before)
        unused.clear()
        gc.collect()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no allocation collects there")
def test_a_get_whose_own_list_sets_off_a_collection_that_ends_the_session_is_told(ends):
    told = []
    gc.disable()
    try:
        for allocation in range(5):
            cyray.init(num_cpus=1)
            refs = [cyray.put(number) for number in range(3)]
            outcome = get_with_a_collection(refs, allocation, ends)
            if outcome != [0, 1, 2]:
                assert_told(outcome)
                told.append(str(outcome))
            cyray.shutdown()
    finally:
        gc.enable()
    assert any("cyray was shut down meanwhile" in text for text in told), told
