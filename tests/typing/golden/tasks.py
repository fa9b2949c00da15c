"""What type checkers say of tasks, objects and graphs; `tools/check_types.py` compares it with the comments.

`# is:` is the type that `reveal_type` shows, `# mypy:` and `# pyright:` are errors: parts of their texts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

from typing_extensions import reveal_type

import cyray
from cyray.dag import InputNode, MultiOutputNode


@cyray.remote
def half(x: int, digits: int = 2) -> float:
    return round(x / 2, digits)


@cyray.remote(num_cpus=0.5, max_retries=2, retry_exceptions=[KeyError])
def shout(text: str) -> str:
    return text.upper()


@cyray.remote(num_returns=2)
def both(x: int) -> tuple[int, int]:
    return x, x


@cyray.remote(num_returns=0)
def nothing() -> None:
    pass


@cyray.remote
def count(n: int) -> Iterator[int]:
    yield from range(n)


@cyray.remote(num_cpus=1)
async def later(text: str) -> str:
    return text


@cyray.remote
async def stream(n: int) -> AsyncIterator[str]:
    yield str(n)


def ordinary(x: int, y: float) -> float:
    return x * y


# Calls.
reveal_type(half.remote(3))  # is: ObjectRef[float]
reveal_type(half.remote(x=3, digits=1))  # is: ObjectRef[float]
reveal_type(shout.remote("a"))  # is: ObjectRef[str]
reveal_type(both.remote(1))  # is: list[ObjectRef[Any]]
nothing.remote()
reveal_type(count.remote(3))  # is: ObjectRefGenerator[int]
reveal_type(later.remote("a"))  # is: ObjectRef[str]
reveal_type(stream.remote(1))  # is: ObjectRefGenerator[str]
reveal_type(cyray.remote(len).remote("abc"))  # is: ObjectRef[int]
reveal_type(cyray.remote(partial(ordinary, 1)).remote(1.5))  # is: ObjectRef[float]
reveal_type(half.options(num_cpus=2, name="half").remote(3))  # is: ObjectRef[float]
reveal_type(half.options(num_returns=2).remote(3))  # is: list[ObjectRef[Any]]
reveal_type(half.options(num_returns="streaming").remote(3))  # is: ObjectRefGenerator[Any]

# A ref stands for its value, among the arguments that are given by position.
number = cyray.put(1)
reveal_type(half.remote(number))  # is: ObjectRef[float]
reveal_type(half.remote(1, number))  # is: ObjectRef[float]

# Wrong calls.
half.remote("3")  # mypy: matches argument type "str" # pyright: No overloads for "remote"
half.remote()  # mypy: require at least one argument # pyright: No overloads for "remote"
half.remote(1, 2, 3)  # mypy: matches argument types "int", "int", "int" # pyright: No overloads
half.remote(1, places=2)  # mypy: matches argument types "int", "int" # pyright: to parameter "_ref"
nothing.remote(1)  # mypy: matches argument type "int" # pyright: to parameter "_ref"
half(3)  # mypy: "RemoteFunction[[int, int], ObjectRef[float]]" not callable # pyright: is not callable
half.options(num_cpu=2)  # mypy: Unexpected keyword argument "num_cpu" # pyright: No overloads for "options"
half.options(num_cpus="2")  # mypy: No overload variant of "options" # pyright: to parameter "num_cpus"
wrong: float = half.remote(3)  # mypy: Incompatible types in assignment # pyright: is not assignable to "float"
half.remote(3) + 1  # mypy: Unsupported operand types # pyright: Operator "+" not supported


@cyray.remote(num_cpu=2)  # mypy: Unexpected keyword argument "num_cpu" # pyright: No overloads for "remote"
def misspelt(x: int) -> int:
    return x


# Values.
reveal_type(cyray.get(half.remote(3)))  # is: float
reveal_type(cyray.get([half.remote(3), half.remote(4)], timeout=2))  # is: list[float]
reveal_type(cyray.get((half.remote(3), shout.remote("a"))))  # is: tuple[float, str]
reveal_type(cyray.get((number, number, shout.remote("a"))))  # is: tuple[int, int, str]
reveal_type(cyray.get({"a": number}))  # is: dict[str, int]
reveal_type(cyray.put([1]))  # is: ObjectRef[list[int]]
ready, rest = cyray.wait([number], timeout=0)
reveal_type(ready)  # is: list[ObjectRef[int]]
reveal_type(next(count.remote(3)))  # is: ObjectRef[int]
reveal_type([cyray.get(ref) for ref in count.remote(3)])  # is: list[int]
cyray.get(number, timeout="2")  # mypy: No overload variant of "get" # pyright: No overloads for "get"


async def awaits() -> None:
    reveal_type(await half.remote(3))  # is: float
    reveal_type(number.future().result())  # is: int


# Graphs.
with InputNode() as inp:
    graph = half.bind(inp)
reveal_type(graph.execute(3))  # is: ObjectRef[float]
reveal_type(both.bind(1).execute())  # is: list[ObjectRef[Any]]
reveal_type(MultiOutputNode([graph]).execute(3))  # is: list[Any]
