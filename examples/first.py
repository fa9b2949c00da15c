"""A first script: tasks, an object in shared memory, and an actor.

python examples/first.py
"""

import time

import numpy as np

import cyray

cyray.init()


@cyray.remote
def square(x):
    return x * x


@cyray.remote
def mean(array):
    return float(array.mean())


@cyray.remote
class Counter:
    def __init__(self):
        self.value = 0

    def increment(self, by=1):
        self.value += by
        return self.value


start = time.perf_counter()
print(cyray.get([square.remote(i) for i in range(10)]))

numbers = cyray.put(np.arange(10_000_000.0))  # 80 MB, written once, read by everybody in place
print(cyray.get([mean.remote(numbers) for _ in range(4)]))

counter = Counter.remote()
print(cyray.get([counter.increment.remote() for _ in range(5)]))
print(f"{time.perf_counter() - start:.3f} s")
