"""C++ functions and classes, through pybind11, as cyray tasks and actors.

pip install -e .
python pybind_main.py
"""

import numpy as np
import pybind_examples as pe

import cyray


def main() -> None:
    cyray.init(ignore_reinit_error=True)

    collatz_length = cyray.remote(pe.collatz_length)
    print("collatz lengths:", cyray.get([collatz_length.remote(n) for n in range(1, 11)]))

    # It releases the GIL, so two may run in one worker at once.
    longest = cyray.remote(pe.longest_collatz, max_concurrency=2)
    print("longest below 10,000 and 100,000:", cyray.get([longest.remote(10**k) for k in (4, 5)]))

    values = cyray.put(np.arange(1_000_000, dtype=float))
    print("sum of squares:", cyray.get(cyray.remote(pe.sum_of_squares).remote(values)))

    average = cyray.remote(pe.MovingAverage).remote(3)
    print("moving average:", cyray.get([average.add.remote(float(n)) for n in range(6)]))

    try:
        cyray.get(collatz_length.remote(0))
    except ValueError as error:
        print("an error from C++:", str(error).strip().splitlines()[-1])


if __name__ == "__main__":
    main()
