"""Results as they come: of refs that are there already, and of a function over many items.

Place: above the public API. Threading: an iterator is used by one thread. Invariant: of `map_unordered` no
more than `backpressure_size` results are made or wait at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import cyray
from cyray._spec.options import did_you_mean

_FOR_WAIT = {"timeout", "fetch_local"}
DEFAULT_CHUNK_SIZE = 10
DEFAULT_BACKPRESSURE_SIZE = 100


def as_completed(
    refs: Collection[cyray.ObjectRef],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The values of `refs`, each as soon as it is there.

    Args:
        refs: distinct refs.
        chunk_size: how many that are ready are taken at a time, at most; nobody waits for a chunk to
            be full.
        yield_obj_refs: give the refs instead of the values: their `get` does not wait, and a program can
            treat each error by itself.
        kwargs: for `cyray.wait`: `fetch_local`, `timeout`. When the time is over, it is waited anew.

    Raises:
        What `get` raises, where the value of a failed task has its turn; this ends the iteration.
        ValueError: `chunk_size` is less than 1; a ref is there twice.

    Example:
        for value in as_completed([f.remote(i) for i in range(100)]):
            print(value)
    """
    _check(as_completed, chunk_size, kwargs)
    return _each_of(list(refs), chunk_size, yield_obj_refs, kwargs)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = DEFAULT_BACKPRESSURE_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """The results of `fn` for all items, each as soon as it is there.

    Args:
        fn: a remote function, a method of an actor, or a callable that gives a ref for an item.
        items: taken one by one, as they are needed; there may be no end of them.
        backpressure_size: how many calls there are at a time whose results were not taken; `None`: any
            number.
        chunk_size, yield_obj_refs, kwargs: as of `as_completed`.

    Raises:
        What `get` and `as_completed` raise; TypeError when `fn` gives something that is no ref.

    Example:
        total = sum(map_unordered(measure, range(10_000)))
    """
    _check(map_unordered, chunk_size, kwargs)
    if backpressure_size is not None and backpressure_size < 1:
        raise ValueError(f"backpressure_size is at least 1, or None, not {backpressure_size}")
    submit = getattr(fn, "remote", fn)
    if not callable(submit):
        raise TypeError(f"map_unordered() takes a remote function or a callable, not {type(fn)}")

    def results() -> Iterator[Any]:
        calls: list[cyray.ObjectRef] = []
        for item in items:
            calls.append(_call(submit, item))
            if backpressure_size is not None and len(calls) >= backpressure_size:
                ready, calls = _take_ready(calls, chunk_size, kwargs)
                yield from ready if yield_obj_refs else map(cyray.get, ready)
        yield from _each_of(calls, chunk_size, yield_obj_refs, kwargs)

    return results()


def _check(function: Callable[..., Any], chunk_size: int, kwargs: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size is at least 1, not {chunk_size}")
    unknown = sorted(kwargs.keys() - _FOR_WAIT)
    if unknown:
        valid = [*(function.__kwdefaults__ or ()), *sorted(_FOR_WAIT)]
        raise TypeError(
            f"{function.__name__}() has no option {unknown[0]!r}. {did_you_mean(unknown[0], valid)}"
            f"Its options are [{', '.join(valid)}]."
        )


def _call(submit: Callable[[Any], Any], item: Any) -> cyray.ObjectRef:
    ref = submit(item)
    if not isinstance(ref, cyray.ObjectRef):
        raise TypeError(f"the function of map_unordered() gave {type(ref)}, not an ObjectRef")
    return ref


def _each_of(
    refs: list[cyray.ObjectRef], chunk_size: int, as_refs: bool, kwargs: dict[str, Any]
) -> Iterator[Any]:
    while refs:
        ready, refs = _take_ready(refs, chunk_size, kwargs)
        yield from ready if as_refs else map(cyray.get, ready)


def _take_ready(
    refs: list[cyray.ObjectRef], most: int, kwargs: dict[str, Any]
) -> tuple[list[cyray.ObjectRef], list[cyray.ObjectRef]]:
    """Those that are ready, `most` of them at most, and the rest; none are ready when the time is over."""
    ready, rest = cyray.wait(refs, num_returns=min(most, len(refs)), **{**kwargs, "timeout": 0})
    return (ready, rest) if ready else cyray.wait(rest, **kwargs)
