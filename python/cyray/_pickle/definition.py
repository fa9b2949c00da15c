"""Functions and classes on their way to workers: by name when a worker can import them, else by value.

Place: the ground; `_api` pickles definitions, `_worker` loads them. What `@remote` made of a function or
class says with `__cyray_wraps__` what that is, so nothing here needs to know its kinds.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import sys
from typing import Any

from cyray import _compat

# Of a pickled function or class: what is worth a warning, and what is refused.
LARGE_BYTES = 10 << 20
MOST_BYTES = 95 << 20


def display_name(function: Any) -> str:
    """What titles, logs and errors call it; text that UTF-8 can hold."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if name is None:
        name = type(function).__qualname__
    name = str(name).encode("utf-8", "backslashreplace").decode()
    return name.rsplit(".", 1)[-1] if "<locals>" in name else name


def identity_of(function: Any) -> bytes:
    """16 bytes that are the same for a function in all processes, wherever it travelled: of where it was
    defined, its code, and the numbers and texts that its closure holds.

    Its pickle is no such thing: of one function two processes make different ones.
    """
    import inspect

    inner = inspect.unwrap(function)
    parts: list[Any] = [
        getattr(inner, "__module__", ""),
        getattr(inner, "__qualname__", repr(inner)),
    ]
    if (code := getattr(inner, "__code__", None)) is not None:
        parts += [code.co_firstlineno, code.co_code, code.co_names, code.co_varnames]
    for cell in getattr(inner, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        plain = isinstance(value, (bool, int, float, complex, str, bytes, type(None)))
        parts.append(value if plain else type(value).__qualname__)
    return content_id(repr(parts).encode("utf-8", "surrogatepass"))


def content_id(pickled: bytes) -> bytes:
    """The id of a definition: BLAKE2b-128 of its pickle."""
    return hashlib.blake2b(pickled, digest_size=16).digest()


def pickle_definition(definition: Any) -> bytes:
    """A function or class as bytes: by name when a worker can import it, else by value."""
    reference = importable_name(definition)
    if reference is not None:
        return pickle.dumps(reference, 5)
    from cyray._pickle import by_value

    pickled = by_value.dumps(definition)
    _check_size(definition, len(pickled))
    return pickled


def _check_size(definition: Any, size: int) -> None:
    """Warns of a definition that carries much data; ValueError when it is too much."""
    if size <= LARGE_BYTES:
        return
    what = (
        f"{display_name(definition)} takes {size >> 20} MiB pickled: it captures large objects, such "
        "as arrays that it finds in globals or in the function around it"
    )
    how = "Store them once with cyray.put(), and pass the ref as an argument."
    if size > MOST_BYTES:
        raise ValueError(f"{what}; at most {MOST_BYTES >> 20} MiB are possible. {how}")
    sys.stderr.write(f"cyray: {what}. {how}\n")


def importable_name(definition: Any) -> tuple[str, str] | None:
    """`(module, qualified name)` under which a worker finds it, or None."""
    module_name = getattr(definition, "__module__", None)
    owner = getattr(definition, "__self__", None)
    if module_name is None and owner is not None and isinstance(owner, type(sys)):
        module_name = owner.__name__
    name = getattr(definition, "__qualname__", None) or getattr(definition, "__name__", None)
    if not module_name or not name or module_name == "__main__" or "<" in name:
        return None
    if module_name in _compat.modules_by_value():
        return None
    module = sys.modules.get(module_name)
    spec = getattr(module, "__spec__", None)
    if module is None or spec is None:
        return None
    for candidate in (name, name.rsplit(".", 1)[-1]):
        if find(module, candidate) is definition:
            return module_name, candidate
    return None


def find(module: Any, name: str) -> Any:
    """The function or class of that qualified name, behind `@remote` when it was decorated there."""
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return getattr(found, "__cyray_wraps__", found)


def load_definition(pickled: bytes) -> Any:
    """The worker's side of `pickle_definition`."""
    definition = pickle.loads(pickled)
    if type(definition) is tuple:
        module_name, name = definition
        found = find(importlib.import_module(module_name), name)
        if found is None:
            raise AttributeError(f"module {module_name!r} has no {name!r} on this worker")
        return found
    return definition
