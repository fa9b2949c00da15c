"""What type checkers say of actors; `tools/check_types.py` compares it with the comments, as in `tasks.py`.

mypy takes a decorated class for what it was before, so classes are made remote by a call here.
"""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import reveal_type

import cyray
from cyray.actor import ActorClass, ActorHandle, ActorProxy


class Counter:
    def __init__(self, start: int, step: int = 1) -> None:
        self.value = start
        self.step = step

    @cyray.method
    def add(self, by: int) -> int:
        self.value += by * self.step
        return self.value

    @cyray.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return self.value, self.add(1)

    @cyray.method(max_task_retries=2)
    async def slowly(self, name: str) -> str:
        return name

    @cyray.method
    def each(self) -> Iterator[int]:
        yield self.value

    def plain(self) -> int:
        return self.value


Counters = cyray.remote(Counter)
Large = cyray.remote(num_cpus=2, max_restarts=-1)(Counter)

# Making one.
reveal_type(Counters.remote(1))  # is: ActorHandle[Counter]
reveal_type(Counters.remote(1, step=2))  # is: ActorHandle[Counter]
reveal_type(Large.options(name="large").remote(1))  # is: ActorHandle[Counter]
reveal_type(Counters.remote(cyray.put(1)))  # is: ActorHandle[Counter]
Counters.remote()  # mypy: require at least one argument # pyright: No overloads for "remote"
Counters.remote("1")  # mypy: matches argument type "str" # pyright: No overloads for "remote"
Counters.options(nam="x")  # mypy: Unexpected keyword argument "nam" # pyright: No parameter named "nam"
Counters.options(lifetime="always")  # mypy: incompatible type "Literal['always']" # pyright: "Literal['always']" is not assignable

# A handle without more knows of no method what it takes.
handle: ActorHandle[Counter] = Counters.remote(1)
reveal_type(handle.plain.remote())  # is: Any
reveal_type(cyray.get_actor("large"))  # is: Any


# Where it is annotated as ActorProxy, the methods that are under @method are known.
def use(counter: ActorProxy[Counter], counters: ActorClass) -> int:
    reveal_type(counter.add.remote(2))  # is: ObjectRef[int]
    reveal_type(counter.add.remote(cyray.put(2)))  # is: ObjectRef[int]
    reveal_type(counter.both.remote())  # is: list[ObjectRef[Any]]
    reveal_type(counter.slowly.remote("a"))  # is: ObjectRef[str]
    reveal_type(counter.each.remote())  # is: ObjectRefGenerator[int]
    reveal_type(counter.add.options(timeout_s=2).remote(2))  # is: ObjectRef[int]
    counter.add.remote("2")  # mypy: matches argument type "str" # pyright: No overloads for "remote"
    counter.add.options(num_cpus=2)  # mypy: Unexpected keyword argument "num_cpus" # pyright: No overloads for "options"
    counter.subtract.remote(2)  # mypy: has no attribute "subtract" # pyright: Cannot access attribute "subtract"
    return cyray.get(counter.add.remote(2)) + cyray.get(counters.remote(3).add.remote(1))


reveal_type(cyray.remote(use).remote(handle, Counters))  # is: ObjectRef[int]
cyray.kill(handle)
