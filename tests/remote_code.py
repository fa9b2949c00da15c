"""Functions and classes that workers import by name: what a user's own module holds."""

from __future__ import annotations

import cyray

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


class CustomError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code
