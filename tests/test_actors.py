"""Actors: state, order, errors, names, lifetimes, handles, restarts."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import remote_code
from support import Driver, eventually, is_running, run_driver

import cyray
from cyray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

pytestmark = pytest.mark.usefixtures("shared_session")


def counter_class():
    # Local, so that it travels by value: workers need not import this file.
    @cyray.remote
    class Counter:
        def __init__(self, start=0):
            self.value = start

        def increment(self, by=1):
            self.value += by
            return self.value

        def read(self):
            return self.value

        def fail(self, text):
            raise KeyError(text)

        def pid(self):
            return os.getpid()

    return Counter


Counter = counter_class()


def pid_of(actor):
    return cyray.get(actor.pid.remote())


def test_actors_have_state_and_processes_of_their_own():
    counters = [Counter.remote() for _ in range(10)]
    assert cyray.get([c.increment.remote() for c in counters]) == [1] * 10
    assert cyray.get([counters[0].increment.remote() for _ in range(5)]) == [2, 3, 4, 5, 6]
    assert len({pid_of(c) for c in counters}) == 10


def test_calls_of_one_caller_run_in_order():
    log = remote_code.Log.remote()
    for i in range(2000):
        log.add.remote("me", i)
    assert cyray.get(log.read.remote()) == {"me": list(range(2000))}


def test_a_late_argument_holds_back_the_calls_after_it():
    from cyray.test_utils import SignalActor

    signal_actor = SignalActor.remote()
    counter = Counter.remote()

    @cyray.remote(num_cpus=0)
    def late(signal_actor):
        cyray.get(signal_actor.wait.remote())
        return 10

    first = counter.increment.remote(late.remote(signal_actor))
    second = counter.increment.remote(1)
    assert cyray.wait([second], timeout=0.05)[0] == []
    cyray.get(signal_actor.send.remote())
    assert cyray.get([first, second]) == [10, 11]


def test_several_callers_are_each_in_order():
    @cyray.remote
    def caller(log, who):
        cyray.get([log.add.remote(who, i) for i in range(300)])

    log = remote_code.Log.remote()
    cyray.get([caller.remote(log, who) for who in range(4)])
    assert cyray.get(log.read.remote()) == {who: list(range(300)) for who in range(4)}


def test_constructor_arguments_and_module_classes():
    counter = remote_code.Counter.remote(start=5)
    assert cyray.get(counter.increment.remote(by=2)) == 7
    assert cyray.get(counter.whoami.remote()) == "Counter"
    counter = remote_code.Counter.remote(cyray.put(7))
    assert cyray.get(counter.increment.remote()) == 8


def test_the_forms_of_options():
    a = Counter._remote(args=[3])
    b = Counter.options(num_cpus=0).remote(4)
    c = Counter._remote(kwargs={"start": 5}, num_cpus=0)
    assert cyray.get([x.read.remote() for x in (a, b, c)]) == [3, 4, 5]
    with pytest.raises(ValueError, match="Invalid option keyword"):
        Counter.options(num_cpu=1)
    with pytest.raises(ValueError, match="Invalid option keyword"):
        a.increment.options(num_cpus=1)


def test_actors_and_methods_cannot_be_called_directly():
    with pytest.raises(TypeError, match="cannot be instantiated directly"):
        Counter()
    counter = Counter.remote()
    with pytest.raises(TypeError, match="Actor methods cannot be called directly"):
        counter.read()
    with pytest.raises(AttributeError):
        counter.value
    with pytest.raises(AttributeError):
        counter.no_such_method


def test_methods_with_several_returns():
    @cyray.remote
    class Splitter:
        @cyray.method(num_returns=2)
        def two(self):
            return 1, 2

        def three(self):
            return 1, 2, 3

    splitter = Splitter.remote()
    assert cyray.get(splitter.two.remote()) == [1, 2]
    assert cyray.get(splitter.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert splitter.three.options(num_returns=0).remote() is None


@cyray.remote
class Yielding:
    def count(self, to):
        yield from range(to)

    @cyray.method(num_returns=2)
    def pair(self):
        yield 1
        yield 2

    def total(self, to):
        return sum(self.count(to))


@cyray.remote
class YieldingAsync:
    async def events(self):
        yield 1

    async def gathered(self):
        return [event async for event in self.events()]


def test_generator_methods_give_as_many_as_are_asked_for():
    actor = Yielding.remote()
    assert cyray.get(actor.pair.remote()) == [1, 2]
    assert cyray.get(actor.count.options(num_returns=3).remote(3)) == [0, 1, 2]
    for call in (actor.count.options(num_returns=0), actor.pair.options(num_returns=1)):
        with pytest.raises(ValueError, match=r"Yielding\.\w+ is a generator.*num_returns"):
            call.remote(3)
    assert cyray.get(actor.total.remote(4)) == 6, "others may use it"

    actor = YieldingAsync.remote()
    [_, missing] = actor.events.options(num_returns=2).remote()
    with pytest.raises(ValueError, match="returned 1 objects, but num_returns=2"):
        cyray.get(missing)
    assert cyray.get(actor.gathered.remote()) == [1]


def test_an_error_in_a_method_leaves_the_actor_at_work():
    counter = Counter.remote()
    with pytest.raises(KeyError, match="wrong"):
        cyray.get(counter.fail.remote("wrong"))
    assert cyray.get(counter.increment.remote()) == 1


def test_an_error_in_the_constructor_is_every_calls_error():
    @cyray.remote
    class Broken:
        def __init__(self):
            raise ValueError("cannot start")

        def f(self):
            return 1

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="cannot start") as caught:
            cyray.get(broken.f.remote())
        assert caught.value.actor_init_failed
        assert isinstance(caught.value, RayActorError)


def test_a_failed_constructor_argument_is_the_actors_death():
    @cyray.remote
    def fail():
        raise ValueError("no argument")

    counter = Counter.remote(fail.remote())
    with pytest.raises((ActorDiedError, ValueError), match="no argument"):
        cyray.get(counter.read.remote(), timeout=20)


def test_kill_ends_the_process_and_fails_its_calls():
    counter = Counter.remote()
    pid = pid_of(counter)
    cyray.kill(counter)
    with pytest.raises(ActorDiedError, match="kill"):
        cyray.get(counter.read.remote())
    eventually(lambda: not is_running(pid), 2.0)
    cyray.kill(counter)  # Again: nothing happens.


def test_what_was_killed_answers_no_later_call():
    for _ in range(20):
        counter = Counter.options(max_restarts=1, max_task_retries=-1).remote(3)
        assert cyray.get(counter.increment.remote()) == 4
        cyray.kill(counter, no_restart=False)
        assert cyray.get(counter.read.remote()) == 3
        cyray.kill(counter)
        with pytest.raises(ActorDiedError):
            cyray.get(counter.read.remote())


def test_kill_takes_actors_only():
    with pytest.raises(ValueError, match="only supported for actors"):
        cyray.kill(cyray.put(1))


def test_an_actor_whose_process_dies_says_so():
    counter = Counter.remote()
    pid = pid_of(counter)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ActorDiedError) as caught:
        cyray.get(counter.read.remote())
    assert caught.value.class_name == "Counter"
    text = str(caught.value)
    assert text.startswith("The actor is dead because its worker process has died.")
    assert where_it_was(pid) in text and f"It was process {pid} on 127.0.0.1." in text
    assert ".." not in text


def where_it_was(pid, class_name="Counter"):
    node = cyray.get_runtime_context().get_node_id()
    return f"\n\tclass_name: {class_name}\n\tpid: {pid}\n\tip: 127.0.0.1\n\tnode_id: {node}"


def test_an_actor_that_was_killed_says_so_to_calls_in_flight_and_later(gate):
    path = gate.path
    counter = Counter.remote()
    pid = pid_of(counter)
    calls = [counter.__ray_call__.remote(lambda _: open(path).close()), counter.read.remote()]
    cyray.kill(counter)
    for call in (*calls, counter.read.remote()):
        with pytest.raises(ActorDiedError) as caught:
            cyray.get(call, timeout=20)
        text = str(caught.value)
        assert text.startswith("The actor is dead because it was killed by `cyray.kill`.\n")
        assert where_it_was(pid) in text
        assert "unexpectedly" not in text
        assert caught.value.class_name == "Counter"


def test_an_actor_whose_process_dies_in_init_says_which_process(tmp_path):
    noted = str(tmp_path / "pid")

    @cyray.remote
    class Dies:
        def __init__(self):
            with open(noted, "w") as file:
                file.write(str(os.getpid()))
            os._exit(3)

        def read(self):
            pass

    actor = Dies.remote()
    with pytest.raises(ActorDiedError, match="exit code 3") as caught:
        cyray.get(actor.read.remote(), timeout=20)
    pid = (tmp_path / "pid").read_text()
    assert where_it_was(pid, "Dies") in str(caught.value)
    assert f"It was process {pid} on 127.0.0.1." in str(caught.value)


def test_a_call_that_a_restart_ends_says_what_to_do(tmp_path):
    begun = str(tmp_path / "begun")

    def wait_for_ever(counter):
        open(begun, "w").close()
        signal.pause()

    actor = Counter.options(max_restarts=1).remote()
    pid = pid_of(actor)
    ref = actor.__ray_call__.remote(wait_for_ever)
    assert eventually(lambda: os.path.exists(begun))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(
        ActorUnavailableError, match=r"may not have run.*max_task_retries"
    ) as caught:
        cyray.get(ref)
    assert caught.value.class_name == "Counter"


def test_running_and_queued_calls_fail_when_the_process_dies():
    actor = remote_code.Hangs.remote()
    pid = pid_of(actor)
    refs = [actor.hang.remote() for _ in range(5)]
    os.kill(pid, signal.SIGKILL)
    for ref in refs:
        with pytest.raises(RayActorError):
            cyray.get(ref, timeout=10)


def test_an_actor_ends_when_its_last_handle_goes():
    counter = Counter.remote()
    pid = pid_of(counter)
    ref = counter.increment.remote()
    del counter
    assert cyray.get(ref) == 1
    eventually(lambda: not is_running(pid), 3.0)


def test_calls_queued_before_the_last_handle_went_still_run():
    counter = Counter.remote()
    refs = [counter.increment.remote() for _ in range(100)]
    del counter
    assert cyray.get(refs) == list(range(1, 101))


def test_an_actor_lives_while_somebody_else_has_a_handle():
    @cyray.remote
    class Holder:
        def hold(self, counter):
            self.counter = counter

        def use(self):
            return cyray.get(self.counter.increment.remote())

        def drop(self):
            self.counter = None

    holder, counter = Holder.remote(), Counter.remote()
    pid = pid_of(counter)
    cyray.get(holder.hold.remote(counter))
    del counter
    assert cyray.get(holder.use.remote()) == 1
    assert is_running(pid)
    cyray.get(holder.drop.remote())
    eventually(lambda: not is_running(pid), 3.0)


def test_handles_are_values():
    counter = Counter.remote()
    assert repr(counter).startswith("Actor(Counter, ")
    assert "increment" in dir(counter)

    @cyray.remote
    def give_back(handles):
        return handles

    (again,) = cyray.get(give_back.remote([counter]))
    assert again == counter and hash(again) == hash(counter)
    assert again != Counter.remote()
    assert cyray.get(again.increment.remote()) == 1


def test_handles_in_tasks_methods_and_objects():
    counter = Counter.remote()

    @cyray.remote
    def use(counter):
        return cyray.get(counter.increment.remote())

    assert cyray.get(use.remote(counter)) == 1
    (again,) = cyray.get(cyray.put([counter]))
    assert cyray.get(again.increment.remote()) == 2


def test_an_actor_made_by_an_actor_dies_with_it():
    @cyray.remote
    class Parent:
        def __init__(self):
            self.child = Counter.remote()

        def get_child(self):
            return self.child

    parent = Parent.remote()
    child = cyray.get(parent.get_child.remote())
    pid = pid_of(child)
    cyray.kill(parent)
    with pytest.raises(ActorDiedError):
        eventually(lambda: cyray.get(child.read.remote(), timeout=5) is None, 5.0)
    eventually(lambda: not is_running(pid), 3.0)


def test_named_actors():
    counter = Counter.options(name="the counter").remote()
    assert cyray.get(cyray.get_actor("the counter").increment.remote()) == 1
    with pytest.raises(ValueError, match="taken"):
        Counter.options(name="the counter").remote()
    same = Counter.options(name="the counter", get_if_exists=True).remote()
    assert same == counter
    from cyray.util import list_named_actors

    assert "the counter" in list_named_actors()
    del same
    cyray.kill(counter)
    eventually(lambda: not name_exists("the counter"), 3.0)
    assert cyray.get(Counter.options(name="the counter").remote().read.remote()) == 0


def name_exists(name):
    try:
        cyray.get_actor(name)
        return True
    except ValueError:
        return False


def test_a_name_that_nobody_has():
    with pytest.raises(ValueError, match="takes the name of an actor, a string, not 5"):
        cyray.get_actor(5)
    with pytest.raises(ValueError, match="Failed to look up actor with name 'nobody'"):
        cyray.get_actor("nobody")
    with pytest.raises(ValueError):
        cyray.get_actor("")


def test_names_are_of_their_namespace():
    here = Counter.options(name="spaced", namespace="one").remote(1)
    there = Counter.options(name="spaced", namespace="two").remote(2)
    assert cyray.get(cyray.get_actor("spaced", namespace="one").read.remote()) == 1
    assert cyray.get(cyray.get_actor("spaced", namespace="two").read.remote()) == 2
    assert not name_exists("spaced")
    del here, there


def test_a_handle_by_name_does_not_keep_the_actor():
    counter = Counter.options(name="weak").remote()
    pid = pid_of(counter)
    weak = cyray.get_actor("weak")
    del counter
    eventually(lambda: not is_running(pid), 3.0)
    with pytest.raises(ActorDiedError):
        cyray.get(weak.read.remote())


def test_exit_actor_ends_it_and_fails_what_is_queued():
    from cyray.actor import exit_actor

    @cyray.remote
    class Leaver:
        def pid(self):
            return os.getpid()

        def leave(self):
            exit_actor()

    leaver = Leaver.remote()
    pid = pid_of(leaver)
    refs = [leaver.leave.remote(), leaver.pid.remote()]
    for ref in refs:
        with pytest.raises(RayActorError):
            cyray.get(ref, timeout=10)
    eventually(lambda: not is_running(pid), 3.0)
    with pytest.raises(TypeError):
        exit_actor()


def test_terminate_runs_what_is_queued_first():
    counter = Counter.remote()
    pid = pid_of(counter)
    refs = [counter.increment.remote() for _ in range(10)]
    counter.__ray_terminate__.remote()
    assert cyray.get(refs) == list(range(1, 11))
    eventually(lambda: not is_running(pid), 3.0)


def test_ready_and_call():
    counter = Counter.remote(4)
    assert cyray.get(counter.__ray_ready__.remote())
    assert cyray.get(counter.__ray_call__.remote(lambda self, x: self.value + x, 3)) == 7


def test_an_actor_with_restarts_runs_its_constructor_again():
    counter = Counter.options(max_restarts=1).remote(10)
    assert cyray.get(counter.increment.remote()) == 11
    pid = pid_of(counter)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: reads(counter) == 10, 10.0)
    os.kill(pid_of(counter), signal.SIGKILL)
    with pytest.raises(ActorDiedError):
        eventually(lambda: reads(counter, dead_is_an_error=True) is False, 10.0)


def reads(counter, dead_is_an_error=False):
    try:
        return cyray.get(counter.read.remote(), timeout=10)
    except ActorDiedError:
        if dead_is_an_error:
            raise
        return None
    except RayActorError:
        return None


def test_calls_are_tried_again_after_a_restart(tmp_path):
    flag = tmp_path / "died"

    @cyray.remote(max_restarts=1, max_task_retries=1)
    class Dies:
        def __init__(self):
            self.calls = []

        def call(self, i):
            if i == 3 and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls.append(i)
            return i

        def read(self):
            return self.calls

    actor = Dies.remote()
    assert cyray.get([actor.call.remote(i) for i in range(10)], timeout=20) == list(range(10))
    calls = cyray.get(actor.read.remote())
    assert calls == sorted(calls), "tried again in their order"
    assert calls[-7:] == list(range(3, 10))


def test_what_an_actor_knows_about_itself():
    @cyray.remote
    class Self:
        def ids(self):
            context = cyray.get_runtime_context()
            return (
                context.get_actor_id(), context.get_actor_name(),
                context.get_assigned_resources(), context.was_current_actor_reconstructed,
            )  # fmt: skip

        def handle(self):
            return cyray.get_runtime_context().current_actor

    actor = Self.options(name="myself").remote()
    actor_id, name, resources, again = cyray.get(actor.ids.remote())
    assert actor_id == actor._actor_id.hex()
    assert (name, resources, again) == ("myself", {}, False)
    assert cyray.get(actor.handle.remote()) == actor


def test_retries_for_an_exception_of_the_program_itself(tmp_path):
    # No worker and no other program can import it: it goes by value, and in no handle.
    run = """
        import os
        import sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="shared")

        class OfMain(Exception):
            pass

        def make():
            class OfFunction(Exception):
                pass

            return OfFunction

        OfFunction = make()

        @cyray.remote(max_task_retries=3)
        class A:
            def __init__(self):
                self.n = 0

            @cyray.method(retry_exceptions=[OfMain])
            def main(self):
                self.n += 1
                if self.n % 3:
                    raise OfMain
                return self.n

            @cyray.method(retry_exceptions=[OfFunction])
            def function(self):
                self.n += 1
                if self.n % 3:
                    raise OfFunction
                return self.n

        a = A.options(name="retrying", lifetime="detached").remote()
        print(cyray.get(a.main.remote()), cyray.get(a.function.remote()))
        once = a.main.options(retry_exceptions=False)
        try:
            cyray.get(once.remote())
        except OfMain:
            print("once")
    """
    address = cyray.get_runtime_context().gcs_address
    assert run_driver(tmp_path, run, address)[0] == "3 6\nonce\n"
    actor = cyray.get_actor("retrying", namespace="shared")
    assert cyray.get(actor.main.remote(), timeout=20) == 9
    cyray.kill(actor)


def test_actors_of_a_dead_driver_end(tmp_path):
    driver = Driver(
        tmp_path,
        """
        import os, sys, threading
        import cyray

        cyray.init(address=sys.argv[1])

        @cyray.remote
        class A:
            def pid(self):
                return os.getpid()

        a = A.remote()
        print(cyray.get(a.pid.remote()), flush=True)
        threading.Event().wait()
        """,
        cyray.get_runtime_context().gcs_address,
    )
    pid = int(driver.line())
    assert is_running(pid)
    driver.kill()
    eventually(lambda: not is_running(pid), 3.0)


def test_an_actor_calls_itself():
    @cyray.remote
    class Own:
        def __init__(self):
            self.seen = []

        def start(self):
            handle = cyray.get_runtime_context().current_actor
            self.refs = [handle.add.remote(i) for i in range(10)]
            return len(self.refs)

        def add(self, i):
            self.seen.append(i)
            return i

        def read(self):
            return self.seen, cyray.get(self.refs)

    own = Own.remote()
    assert cyray.get(own.start.remote()) == 10
    eventually(lambda: len(cyray.get(own.__ray_call__.remote(lambda self: self.seen))) == 10)
    assert cyray.get(own.read.remote()) == (list(range(10)), list(range(10)))


def test_large_arguments_and_results_of_methods():
    @cyray.remote
    class Store:
        def put(self, array):
            self.array = array
            return float(array[0])

        def get(self):
            return self.array * 2

    store = Store.remote()
    assert cyray.get(store.put.remote(np.ones(500_000))) == 1.0
    assert cyray.get(store.get.remote()).sum() == 1_000_000


def test_a_class_that_cannot_be_pickled_is_a_clear_error():
    import threading

    lock = threading.Lock()

    class Holds:
        def f(self):
            return lock

    with pytest.raises(TypeError, match="pickle"):
        cyray.remote(Holds).remote()


def test_methods_that_raise_what_looks_like_the_engines_own_error():
    @cyray.remote
    class Odd:
        def f(self):
            raise RayTaskError("x", "y", ValueError("z"))

    with pytest.raises(RayTaskError):
        cyray.get(Odd.remote().f.remote())


def test_an_actor_that_holds_no_cpu_starts_though_all_are_taken(gate):
    path = gate.path

    @cyray.remote
    def hold():
        open(path).close()

    refs = [hold.remote() for _ in range(3)]
    eventually(lambda: cyray.available_resources().get("CPU", 0) == 0)
    assert cyray.get(Counter.remote().read.remote(), timeout=10) == 0
    gate.open()
    cyray.get(refs)


def test_an_actor_takes_no_room_before_its_arguments_exist(gate):
    from cyray import _raylet

    path = gate.path

    @cyray.remote
    def wait_for_gate():
        open(path).close()

    @cyray.remote(num_cpus=2)
    def make(_):
        return 7

    value = make.remote(wait_for_gate.remote())
    counter = Counter.options(num_cpus=1, name="early").remote(value)
    assert cyray.get_actor("early") == counter
    read = counter.read.remote()
    eventually(lambda: "DependenciesUnready: 1 queued" in _raylet.describe())
    gate.open()
    assert cyray.get(read, timeout=20) == 7
    cyray.kill(counter)


def test_a_low_limit_of_descriptors_is_raised_as_far_as_allowed(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import resource
        import cyray

        resource.setrlimit(resource.RLIMIT_NOFILE, (48, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        cyray.init(num_cpus=1)

        @cyray.remote(num_cpus=0)
        class One:
            def get(self):
                return 1

        actors = [One.remote() for _ in range(60)]
        print(sum(cyray.get([actor.get.remote() for actor in actors])))
        """,
    )
    assert out == "60\n"
