"""Functions and classes that workers import by name: what a user's own module holds."""

from __future__ import annotations

import os
import threading

import cyray
from cyray.util.placement_group import get_current_placement_group

CALLS = 0


def add(a, b=10):
    return a + b


@cyray.remote
def decorated(x):
    return x * 2


@cyray.remote
def calls_decorated(x):
    return cyray.get(decorated.remote(x)) + 1


def count_calls():
    global CALLS
    CALLS += 1
    return CALLS


LOADS = 0


def count_loads():
    """What a pickle calls when a worker loads it: counts that."""
    global LOADS
    LOADS += 1
    return LOADS


class Base:
    def whoami(self):
        return type(self).__name__


@cyray.remote
class Counter(Base):
    def __init__(self, start=0):
        self.value = start

    def increment(self, by=1):
        self.value += by
        return self.value


@cyray.remote
class Log:
    """Keeps what it is given, by who gave it."""

    def __init__(self):
        self.seen = {}

    def add(self, who, value):
        self.seen.setdefault(who, []).append(value)
        return value

    def read(self):
        return self.seen

    def node(self):
        return cyray.get_runtime_context().get_node_id()


@cyray.remote
class Keeper:
    """Holds what it is given."""

    def __init__(self, refs=None):
        self.refs = refs

    def keep(self, refs):
        self.refs = refs

    def drop(self):
        self.refs = None

    def read(self):
        """The first number of the array that the first ref names."""
        return float(cyray.get(self.refs[0])[0])

    def hand_on(self, other):
        cyray.get(other.keep.remote(self.refs))
        self.refs = None


@cyray.remote
class Hangs:
    """An actor whose one call never ends."""

    def pid(self):
        return os.getpid()

    def hang(self):
        threading.Event().wait()


class CustomError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class Counted:
    """Knows how many there are of its kind in a process."""

    alive = 0

    def __init__(self):
        Counted.alive += 1

    def __del__(self):
        Counted.alive -= 1

    def __reduce__(self):
        return Counted, ()


@cyray.remote
def group_here():
    """The placement group that the task is in."""
    return get_current_placement_group()


@cyray.remote(num_cpus=1)
class InAGroup:
    """An actor that says where it is."""

    def group(self):
        return get_current_placement_group()

    def pid(self):
        return os.getpid()
