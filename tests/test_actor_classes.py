"""What a class is behind `@remote`, what its calls may look like, and how its actors begin and end."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import signal
import sys
from typing import Generic, TypeVar

import pytest
from support import command_line, eventually

import cyray
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")

Item = TypeVar("Item")


def shop_class():
    @cyray.remote
    class Shop(Generic[Item]):
        """Sells."""

        LIMIT = 7

        def __init__(self, start, *, step=1):
            self.value = start * step

        @staticmethod
        def twice(x):
            return 2 * x

        @classmethod
        def named(cls):
            return cls.__name__

        def add(self, by, /, times=1):
            "Adds."
            self.value += by * times
            return self.value

        def limits(self):
            return Shop.LIMIT + Shop.twice(1), isinstance(self, Shop)

        def __len__(self):
            return 3

        def __getitem__(self, key):
            return key

    return Shop


Shop = shop_class()


def test_wrong_arguments_of_constructors_and_methods_are_refused_as_python_would():
    with pytest.raises(
        TypeError, match=r"__init__\(\) missing 1 required positional argument: 'start'"
    ):
        Shop.remote()
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        Shop.options(num_cpus=0).remote(1, steps=2)
    with pytest.raises(TypeError, match="takes no arguments"):
        cyray.remote(type("Empty", (), {})).remote(1)
    shop = Shop.remote(1, step=2)
    for handle in (shop, cyray.get(cyray.remote(lambda refs: refs[0]).remote([shop]))):
        with pytest.raises(
            TypeError, match=r"Shop.add\(\) takes from 2 to 3 positional arguments but 4"
        ):
            handle.add.remote(1, 2, 3)
        with pytest.raises(TypeError, match="positional-only"):
            handle.add.remote(by=1)
        with pytest.raises(TypeError, match="missing 1 required"):
            handle.add.options(name="other").remote()
    assert cyray.get([shop.add.remote(1, times=2), shop.twice.remote(4)]) == [4, 8]
    assert cyray.get(shop.named.remote()) == "Shop"


def test_the_class_shows_through_its_actor_class():
    assert (Shop.LIMIT, Shop.twice(3), Shop.named()) == (7, 6, "Shop")
    assert str(inspect.signature(Shop.add)) == "(self, by, /, times=1)"
    assert (Shop.add.__doc__, Shop.__doc__) == ("Adds.", "Sells.")
    assert str(inspect.signature(Shop)) == "(start, *, step=1)"
    with pytest.raises(AttributeError, match="no_such"):
        Shop.no_such
    assert cyray.get(Shop.remote(1).limits.remote()) == (9, True)
    assert cyray.get(Shop[int].remote(4).add.remote(1)) == 5
    assert cyray.get(cyray.remote(list[int]).remote([1, 2]).__len__.remote()) == 2


def test_a_class_inherits_from_an_actor_class():
    class Plain(Shop):
        def __init__(self):
            Shop.__init__(self, 10)

        def add(self, by):
            return super().add(by) + 100

    assert Plain().add(1) == 111
    assert cyray.get(cyray.remote(Plain).remote().add.remote(2)) == 112


def test_special_methods_are_called_through_a_handle():
    shop = Shop.remote(1)
    assert cyray.get([shop.__len__.remote(), shop.__getitem__.remote(5)]) == [3, 5]
    assert copy.copy(shop) == shop and "Shop" in repr(shop)


def test_a_call_while_the_actor_restarts_does_not_wait(tmp_path):
    @cyray.remote(max_restarts=1, num_cpus=0)
    class Slow:
        def __init__(self, gate):
            if (tmp_path / "started").exists():
                cyray.get(gate[0].wait.remote())

        def pid(self):
            return os.getpid()

    gate = SignalActor.options(num_cpus=0).remote()
    slow = Slow.remote([gate])
    pid = cyray.get(slow.pid.remote())
    (tmp_path / "started").touch()
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(cyray.exceptions.ActorUnavailableError):
            cyray.get(slow.pid.remote())
    waits = slow.pid.options(max_task_retries=1).remote()
    cyray.get(gate.send.remote())
    assert cyray.get(waits) != pid


def test_sys_exit_with_a_failure_restarts_the_actor(tmp_path):
    @cyray.remote(max_restarts=2, max_task_retries=2)
    class Exits:
        def go(self):
            with open(tmp_path / "log", "a") as file:
                file.write("x")
            if os.path.getsize(tmp_path / "log") < 3:
                sys.exit(1)
            return "third"

        def leave(self):
            sys.exit(0)

    exits = Exits.remote()
    assert cyray.get(exits.go.remote()) == "third"
    with pytest.raises(cyray.exceptions.ActorDiedError):
        cyray.get(exits.leave.remote())


@pytest.mark.parametrize("how", ["handle", "terminate"])
def test_an_actor_ends_as_a_program_does(tmp_path, how):
    @cyray.remote
    class Writer:
        def __init__(self):
            self.file = open(tmp_path / "text", "w")  # noqa: SIM115 - it stays open

        def write(self):
            self.file.write("kept")

        def __del__(self):
            (tmp_path / "finalised").touch()

        def __ray_shutdown__(self):
            (tmp_path / "hook").touch()

    writer = Writer.remote()
    cyray.get(writer.write.remote())
    if how == "terminate":
        writer.__ray_terminate__.remote()
    else:
        del writer
    eventually(lambda: (tmp_path / "finalised").exists(), 10)
    assert (tmp_path / "hook").exists()
    eventually(lambda: (tmp_path / "text").read_text() == "kept", 10)


def test_the_title_of_an_actor_and_of_its_calls():
    @cyray.remote
    class Titled:
        def title(self):
            return os.getpid(), command_line(os.getpid()).strip()

    titled = Titled.remote()
    pid, shown = cyray.get(titled.title.remote())
    assert shown.endswith("Titled.title") and shown.startswith("cyray::")
    eventually(lambda: command_line(pid).strip() == "cyray::Titled", 10)


def test_the_constructor_of_an_async_actor_runs_on_its_loop():
    @cyray.remote
    class Server:
        def __init__(self):
            self.loop = asyncio.get_running_loop()
            self.made = asyncio.create_task(asyncio.sleep(0, "slept"))

        async def ask(self):
            return self.loop is asyncio.get_running_loop(), await self.made

    assert cyray.get(Server.remote().ask.remote()) == (True, "slept")


def test_a_future_for_a_loop_that_does_not_run_yet():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        future = cyray.put(1).as_future()
        assert loop.run_until_complete(future) == 1
    finally:
        asyncio.set_event_loop(None)
        loop.close()
