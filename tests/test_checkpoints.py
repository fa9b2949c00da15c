"""Actors whose state survives their process: when it is saved, what a restart goes on from, and which calls
run again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import textwrap
import threading
import time

import pytest
from support import WATCHED_DRIVER, eventually, gcs_pid, is_running, run_driver

import cyray
from cyray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

pytestmark = pytest.mark.usefixtures("shared_session")

SURVIVES = {"max_restarts": -1, "max_task_retries": -1}


class Counter:
    """Counts its calls; a call that has its effect twice shows in the number."""

    def __init__(self, start=0):
        self.total = start
        self.seen = []
        self.began = "made"

    def __cyray_save__(self):
        return {"total": self.total, "seen": self.seen}

    def __cyray_restore__(self, state):
        self.total, self.seen = state["total"], state["seen"]
        self.began = "restored"

    def add(self, number=1):
        self.total += number
        self.seen.append(number)
        return self.total

    def numbers(self):
        return self.seen

    def how(self):
        return self.began, self.total

    def pid(self):
        return os.getpid()


def end(actor, number=signal.SIGKILL):
    """Ends the actor's process from outside."""
    pid = cyray.get(actor.pid.options(max_task_retries=-1).remote(), timeout=30)
    os.kill(pid, number)
    eventually(lambda: not is_running(pid), 10)


def saves_of(class_name):
    """When the actor of that class was saved last, in ms, or 0."""
    from cyray import _raylet

    rows = [row for row in _raylet.list_actors() if row["class_name"] == class_name]
    return max((row["saved_ms"] for row in rows if row["state"] != "Dead"), default=0)


def await_save(class_name, after=0):
    return eventually(lambda: saves_of(class_name) > after and saves_of(class_name), 20)


def test_a_restart_goes_on_from_the_last_save():
    @cyray.remote(max_restarts=-1, checkpoint=3)
    class ByCalls(Counter):
        pass

    counter = ByCalls.remote(10)
    for _ in range(3):
        cyray.get(counter.add.remote())
    await_save("ByCalls")
    end(counter)
    eventually(lambda: how(counter) == ("restored", 13), 20)


def how(actor):
    """As `Counter.how()`, through a restart."""
    return cyray.get(actor.how.options(max_task_retries=-1).remote(), timeout=30)


def test_calls_after_the_last_save_run_again_once_and_in_order():
    @cyray.remote(**SURVIVES, checkpoint=7)
    class Replayed(Counter):
        pass

    counter = Replayed.remote()
    for number in range(40):
        cyray.get(counter.add.remote(number))
    end(counter)
    refs = [counter.add.remote(number) for number in range(40, 60)]
    assert cyray.get(refs, timeout=30)[-1] == sum(range(60))
    assert cyray.get(counter.numbers.remote(), timeout=30) == list(range(60))
    assert how(counter)[0] == "restored"


def test_no_call_has_its_effect_twice_whenever_the_process_ends():
    @cyray.remote(**SURVIVES, checkpoint=5)
    class Killed(Counter):
        pass

    counter = Killed.remote()
    refs = []
    for number in range(300):
        refs.append(counter.add.remote(number))
        if number % 60 == 59:
            end(counter)
    assert cyray.get(refs, timeout=60) == [sum(range(n + 1)) for n in range(300)]
    assert cyray.get(counter.numbers.remote(), timeout=30) == list(range(300))


def test_before_the_first_save_everything_runs_again():
    @cyray.remote(**SURVIVES, checkpoint=1000)
    class Unsaved(Counter):
        pass

    counter = Unsaved.remote(100)
    assert cyray.get([counter.add.remote() for _ in range(5)])[-1] == 105
    end(counter)
    assert cyray.get(counter.add.remote(), timeout=30) == 106
    assert how(counter) == ("made", 106)


def test_calls_without_retries_count_as_far_as_they_are_saved():
    @cyray.remote(max_restarts=-1, checkpoint=1000)
    class Lossy(Counter):
        pass

    counter = Lossy.remote()
    assert cyray.get([counter.add.remote() for _ in range(5)])[-1] == 5
    end(counter)
    eventually(lambda: how(counter) == ("made", 0), 20)


def test_it_is_saved_when_so_much_time_has_passed():
    @cyray.remote(max_restarts=-1, checkpoint=datetime.timedelta(seconds=0.3))
    class ByTime(Counter):
        pass

    counter = ByTime.remote()
    cyray.get(counter.add.remote())
    await_save("ByTime")  # while nobody calls it
    end(counter)
    eventually(lambda: how(counter) == ("restored", 1), 20)


def test_whichever_comes_first():
    @cyray.remote(max_restarts=-1, checkpoint={"calls": 2, "seconds": 3600})
    class ByBoth(Counter):
        pass

    counter = ByBoth.remote()
    cyray.get(counter.add.remote())
    assert saves_of("ByBoth") == 0
    cyray.get(counter.add.remote())
    await_save("ByBoth")


def test_who_has_the_methods_is_saved_each_second():
    @cyray.remote(**SURVIVES)
    class Unasked(Counter):
        pass

    counter = Unasked.remote()
    cyray.get(counter.add.remote())
    await_save("Unasked")


def test_who_is_never_restarted_is_not_saved():
    @cyray.remote
    class Plain(Counter):
        pass

    plain = Plain.remote()
    assert cyray.get([plain.add.remote() for _ in range(20)])[-1] == 20
    assert saves_of("Plain") == 0


def test_saves_outlive_the_gcs():
    @cyray.remote(**SURVIVES, checkpoint=1)
    class Outlives(Counter):
        pass

    counter = Outlives.remote()
    cyray.get(counter.add.remote(5))
    first = await_save("Outlives")
    old = gcs_pid()
    os.kill(old, signal.SIGKILL)
    cyray.get([counter.add.remote() for _ in range(10)], timeout=30)
    eventually(lambda: not is_running(old) and gcs_pid() != old, 20)
    await_save("Outlives", after=first)
    end(counter)
    assert cyray.get(counter.add.remote(), timeout=30) == 16
    assert how(counter)[0] == "restored"


def test_an_orderly_end_saves_last():
    @cyray.remote(max_restarts=-1, checkpoint=1000)
    class Orderly(Counter):
        pass

    counter = Orderly.remote()
    cyray.get([counter.add.remote() for _ in range(5)])
    end(counter, signal.SIGTERM)
    eventually(lambda: how(counter) == ("restored", 5), 20)


def test_an_orderly_end_saves_last_whatever_becomes_of_callers():
    @cyray.remote(max_restarts=-1, checkpoint=1000)
    class Outlived(Counter):
        pass

    @cyray.remote(num_cpus=0)
    class Caller:
        def call(self, counter):
            return cyray.get(counter.add.options(max_task_retries=-1).remote(), timeout=30)

        def pid(self):
            return os.getpid()

    counter, caller = Outlived.remote(), Caller.remote()
    assert cyray.get(caller.call.remote(counter), timeout=30) == 1
    frozen = cyray.get(caller.pid.remote(), timeout=30)
    cyray.get([counter.add.remote() for _ in range(4)])
    os.kill(frozen, signal.SIGSTOP)
    try:
        end(counter, signal.SIGTERM)
        eventually(lambda: how(counter) == ("restored", 5), 20)
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_why_an_orderly_end_could_not_save_is_said(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + textwrap.dedent(
            """
        import os, signal, threading

        cyray.init(num_cpus=2)

        @cyray.remote(max_restarts=-1, checkpoint=1)
        class Locked:
            def __cyray_save__(self):
                return threading.Lock()

            def __cyray_restore__(self, state):
                pass

            def call(self):
                return os.getpid()

        locked = Locked.remote()
        pid = cyray.get(locked.call.remote())
        sys.stderr.await_text("__cyray_save__ failed")
        os.kill(pid, signal.SIGTERM)
        sys.stderr.await_text("failed as the actor ends")
        """
        ),
    )
    assert err.count("Locked.__cyray_save__ failed as the actor ends") == 1


def test_a_kill_that_allows_a_restart_loses_nothing():
    @cyray.remote(**SURVIVES, checkpoint=4)
    class Restarted(Counter):
        pass

    counter = Restarted.remote()
    cyray.get([counter.add.remote() for _ in range(10)])
    cyray.kill(counter, no_restart=False)
    assert cyray.get(counter.add.remote(), timeout=30) == 11


def test_several_callers_keep_their_own_calls():
    @cyray.remote(**SURVIVES, checkpoint=10)
    class Shared(Counter):
        pass

    @cyray.remote(num_cpus=0)
    class Caller:
        def call(self, counter, times):
            return cyray.get([counter.add.remote() for _ in range(times)])[-1]

    counter = Shared.remote()
    callers = [Caller.remote() for _ in range(3)]
    cyray.get([caller.call.remote(counter, 37) for caller in callers], timeout=30)
    end(counter)
    again = [caller.call.remote(counter, 5) for caller in callers]
    cyray.get(again, timeout=30)
    assert how(counter)[1] == 3 * (37 + 5)


def test_arguments_by_reference_are_there_for_the_second_time():
    @cyray.remote(**SURVIVES, checkpoint=1000)
    class Large(Counter):
        def take(self, data):
            return self.add(len(data))

    counter = Large.remote()
    ref = cyray.put(b"x" * 1_000_000)
    assert cyray.get(counter.take.remote(ref)) == 1_000_000
    del ref
    end(counter)
    assert cyray.get(counter.add.remote(1), timeout=30) == 1_000_001


def test_a_call_that_raises_has_had_its_effect():
    @cyray.remote(**SURVIVES, checkpoint=1000)
    class Raises(Counter):
        def fail(self):
            self.add(100)
            raise KeyError("no")

    counter = Raises.remote()
    with pytest.raises(KeyError):
        cyray.get(counter.fail.remote())
    end(counter)
    assert cyray.get(counter.add.remote(), timeout=30) == 101


def test_a_generator_runs_again_for_its_effect_alone():
    @cyray.remote(**SURVIVES, checkpoint=1000)
    class Yields(Counter):
        def stream(self, count):
            for number in range(count):
                yield self.add(number)

    counter = Yields.remote()
    assert [cyray.get(ref) for ref in counter.stream.remote(50)][-1] == sum(range(50))
    end(counter)
    assert cyray.get(counter.add.remote(1), timeout=30) == sum(range(50)) + 1


def check_saved_while_calls_come(actor_class):
    counter = actor_class.remote()
    refs = [counter.step.remote() for _ in range(200)]
    cyray.get(refs[:100], timeout=30)
    await_save(actor_class.underlying_class.__name__)
    end(counter)
    cyray.get(refs, timeout=60)
    eventually(lambda: how(counter)[1] == 200, 10, "what runs again runs in no order")


def test_a_threaded_actor_is_saved_between_its_calls():
    @cyray.remote(**SURVIVES, checkpoint=5, max_concurrency=4)
    class Threaded(Counter):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
            self.inside = 0

        def __cyray_save__(self):
            assert self.inside == 0, "a call runs"
            return super().__cyray_save__()

        def step(self):
            with self.lock:
                self.inside += 1
            time.sleep(0.002)
            with self.lock:
                self.inside -= 1
                return self.add()

    check_saved_while_calls_come(Threaded)


def test_an_async_actor_is_saved_between_its_calls():
    @cyray.remote(**SURVIVES, checkpoint=5)
    class Async(Counter):
        def __cyray_save__(self):
            assert self.inside == 0, "a call runs"
            return super().__cyray_save__()

        inside = 0

        async def step(self):
            self.inside += 1
            await asyncio.sleep(0.002)
            self.inside -= 1
            return self.add()

    check_saved_while_calls_come(Async)


def test_the_constructor_runs_before_the_state_comes_back():
    @cyray.remote(**SURVIVES, checkpoint=1)
    class Holds(Counter):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()  # nothing that can be saved

        def locked(self):
            with self.lock:
                return self.total

    holds = Holds.remote()
    cyray.get(holds.add.remote())
    await_save("Holds")
    end(holds)
    assert cyray.get(holds.locked.remote(), timeout=30) == 1


def test_what_cannot_be_saved_is_said_once_and_the_actor_goes_on(tmp_path):
    out, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + textwrap.dedent(
            """
        import os, signal, threading
        from support import eventually

        cyray.init(num_cpus=2)

        @cyray.remote(max_restarts=-1, checkpoint=1)
        class Locked:
            def __init__(self):
                self.good = True
                self.calls = 0

            def __cyray_save__(self):
                return {"calls": self.calls, "inner": [] if self.good else [threading.Lock()]}

            def __cyray_restore__(self, state):
                self.calls = state["calls"]

            def call(self, good):
                self.calls += 1
                self.good = good
                return self.calls, os.getpid()

        locked = Locked.remote()
        cyray.get(locked.call.remote(True))
        from cyray import _raylet
        eventually(lambda: _raylet.list_actors()[0]["saved_ms"], 20)
        for _ in range(20):
            calls, pid = cyray.get(locked.call.remote(False))
        print(calls)
        sys.stderr.await_text("__cyray_save__ failed")
        os.kill(pid, signal.SIGKILL)
        again = locked.call.options(max_task_retries=-1)
        print(cyray.get(again.remote(True))[0])
        """
        ),
        PYTHONPATH=os.path.dirname(__file__),
    )
    assert out == "21\n2\n", "the last good save stays"
    assert err.count("Locked.__cyray_save__ failed") == 1
    assert "value['inner'][0]" in err and "_thread.lock" in err


def test_a_state_with_refs_is_refused():
    from cyray import _raylet

    with pytest.raises(TypeError, match="neither outlives"):
        _raylet.encode_state([cyray.put(1)])
    counter = cyray.remote(Counter).remote()
    with pytest.raises(TypeError, match="neither outlives"):
        _raylet.encode_state({"counter": counter})
    assert _raylet.decode_value(_raylet.encode_state({"a": [1, None]})) == {"a": [1, None]}


def test_a_state_with_a_ref_says_where():
    from cyray._worker import saves

    keeper = saves._State(None, "Counter")
    for held in (cyray.put(1), cyray.remote(Counter).remote()):
        keeper._refused = ""
        for _ in range(2):
            with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is an ObjectRef, or a handle"):
                keeper._encoded({"a": [1, held]})


def test_a_state_that_is_too_large_is_named_with_its_size(tmp_path):
    _, err = run_driver(
        tmp_path,
        """
        import cyray

        cyray.init(num_cpus=1)

        @cyray.remote(max_restarts=-1, checkpoint=1)
        class Huge:
            def __cyray_save__(self):
                return b"x" * (65 << 20)

            def __cyray_restore__(self, state):
                pass

            def call(self):
                pass

        huge = Huge.remote()
        cyray.get([huge.call.remote() for _ in range(3)])
        """,
    )
    assert "68157" in err and "67108864" in err


def test_an_actor_whose_save_has_no_room_is_named(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + textwrap.dedent(
            """
        cyray.init(num_cpus=1)

        @cyray.remote(max_restarts=-1, checkpoint=1)
        class Roomy:
            def __cyray_save__(self):
                return b"x" * (2 << 20)

            def __cyray_restore__(self, state):
                pass

            def call(self):
                pass

        roomy = Roomy.remote()
        cyray.get(roomy.call.remote())
        sys.stderr.await_text("CYRAY_SAVES_MIB")
        """
        ),
        CYRAY_SAVES_MIB="1",
    )
    assert "the state of the actor Roomy" in err and "more than the 1048576" in err


def test_a_restore_that_raises_is_the_actors_death():
    @cyray.remote(max_restarts=1, max_task_retries=-1, checkpoint=1)
    class Broken(Counter):
        def __cyray_restore__(self, state):
            raise ValueError("cannot read it")

    broken = Broken.remote()
    cyray.get(broken.add.remote())
    await_save("Broken")
    end(broken)
    with pytest.raises(ActorDiedError, match=r"(?s)__cyray_restore__.*cannot read it"):
        cyray.get(broken.add.remote(), timeout=30)


def test_a_call_in_flight_without_retries_fails_as_ever():
    @cyray.remote(max_restarts=-1, checkpoint=1)
    class Ends(Counter):
        def die(self):
            os.kill(os.getpid(), signal.SIGKILL)

    ends = Ends.remote()
    with pytest.raises(ActorUnavailableError):
        cyray.get(ends.die.remote(), timeout=30)


def test_refs_of_calls_are_let_go_of_when_they_are_saved():
    @cyray.remote(**SURVIVES, checkpoint=4)
    class Frees(Counter):
        def take(self, data):
            return self.add()

    from cyray import _raylet

    frees = Frees.remote()
    cyray.get(frees.add.remote())
    before = _raylet.live_objects()
    for _ in range(3):
        ref = cyray.put(b"x" * 1_000_000)
        cyray.get(frees.take.remote(ref))
        del ref
    eventually(lambda: _raylet.live_objects() <= before, 10, "saved, and let go of")


def test_a_worker_that_keeps_calls_leaves_when_they_are_saved(tmp_path):
    """The task's worker has max_calls=1 and is to end; the actor is saved for that."""

    @cyray.remote(**SURVIVES, checkpoint=100_000)
    class Wanted(Counter):
        pass

    @cyray.remote(max_calls=1, num_cpus=0)
    def caller(counter):
        return cyray.get(counter.add.remote(7)), os.getpid()

    wanted = Wanted.remote()
    total, pid = cyray.get(caller.remote(wanted), timeout=30)
    assert total == 7
    eventually(lambda: not is_running(pid), 20)
    await_save("Wanted")
    end(wanted)
    assert cyray.get(wanted.add.remote(), timeout=30) == 8


# --- Options ----------------------------------------------------------------------------------------


def test_only_one_of_the_methods_is_refused():
    class Half:
        def __cyray_save__(self):
            return None

    with pytest.raises(TypeError, match="__cyray_save__ and no __cyray_restore__"):
        cyray.remote(Half)


def test_checkpoint_needs_the_methods_and_restarts():
    class Plain:
        pass

    with pytest.raises(ValueError, match="cannot be saved"):
        cyray.remote(max_restarts=1, checkpoint=5)(Plain)
    with pytest.raises(ValueError, match="never restarted"):
        cyray.remote(checkpoint=5)(Counter)
    made = cyray.remote(max_restarts=2, checkpoint=5)(Counter)
    with pytest.raises(ValueError, match="never restarted"):
        made.options(max_restarts=0)


# --- Checkpointable -------------------------------------------------------------------------------


@cyray.remote(**SURVIVES)
class Old(cyray.actor.Checkpointable):
    """A program of before: it keeps its checkpoints in files."""

    def __init__(self, folder):
        self.folder = folder
        self.value = 0
        self.loaded_from = None

    def should_checkpoint(self, checkpoint_context):
        assert checkpoint_context.actor_id.hex() == cyray.get_runtime_context().get_actor_id()
        assert checkpoint_context.time_elapsed_ms_since_last_checkpoint >= 0
        return checkpoint_context.num_tasks_since_last_checkpoint >= 3

    def save_checkpoint(self, actor_id, checkpoint_id):
        with open(os.path.join(self.folder, checkpoint_id.hex()), "w") as file:
            file.write(str(self.value))

    def load_checkpoint(self, actor_id, available_checkpoints):
        assert list(available_checkpoints) == sorted(
            available_checkpoints, key=lambda one: -one.timestamp
        )
        newest = available_checkpoints[0].checkpoint_id
        with open(os.path.join(self.folder, newest.hex())) as file:
            self.value = int(file.read())
        self.loaded_from = self.value
        return newest

    def checkpoint_expired(self, actor_id, checkpoint_id):
        with contextlib.suppress(FileNotFoundError):  # told of before a restart
            os.remove(os.path.join(self.folder, checkpoint_id.hex()))

    def increase(self):
        self.value += 1
        return self.value

    def loaded(self):
        return self.loaded_from

    def pid(self):
        return os.getpid()


def test_an_old_program_with_checkpointable(tmp_path):
    old = Old.remote(str(tmp_path))
    assert cyray.get([old.increase.remote() for _ in range(10)])[-1] == 10
    await_save("Old")
    end(old)
    assert cyray.get(old.increase.remote(), timeout=30) == 11
    assert cyray.get(old.loaded.remote(), timeout=30) % 3 == 0


def test_the_latest_twenty_checkpoints_are_kept(tmp_path):
    old = Old.remote(str(tmp_path))
    for _ in range(30):
        before = saves_of("Old")
        cyray.get([old.increase.remote() for _ in range(3)])
        await_save("Old", after=before)
        # One goes with the call after the actor knows that a save without it is stored.
        assert len(os.listdir(tmp_path)) <= 22
    assert len(os.listdir(tmp_path)) >= 20
    end(old)
    assert cyray.get(old.increase.remote(), timeout=30) == 91
    eventually(lambda: len(os.listdir(tmp_path)) == 20, 10)


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    @cyray.remote(max_restarts=1, max_task_retries=-1)
    class Wrong(Old.underlying_class):
        def load_checkpoint(self, actor_id, available_checkpoints):
            return "none of them"

    wrong = Wrong.remote(str(tmp_path))
    cyray.get([wrong.increase.remote() for _ in range(3)])
    await_save("Wrong")
    end(wrong)
    with pytest.raises(ActorDiedError, match=r"(?s)load_checkpoint.*none of those"):
        cyray.get(wrong.increase.remote(), timeout=30)


def test_an_actor_may_begin_anew(tmp_path):
    @cyray.remote(max_restarts=1)
    class Anew(Old.underlying_class):
        def load_checkpoint(self, actor_id, available_checkpoints):
            return None

    anew = Anew.remote(str(tmp_path))
    cyray.get([anew.increase.remote() for _ in range(3)])
    await_save("Anew")
    end(anew)
    again = anew.increase.options(max_task_retries=-1)
    with contextlib.suppress(RayTaskError):
        assert cyray.get(again.remote(), timeout=30) == 1
