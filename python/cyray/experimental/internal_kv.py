"""Small values that all processes of the cluster see: a table of the GCS, kept on the head's disk.

Place: above the public API. Keys and values are bytes; a str is taken as its UTF-8. Each namespace has keys of
its own. Everything here raises RaySystemError when cyray has not been started.
"""

from __future__ import annotations

from cyray import _raylet
from cyray._api.cluster import require_started

__all__ = [
    "_internal_kv_del",
    "_internal_kv_exists",
    "_internal_kv_get",
    "_internal_kv_initialized",
    "_internal_kv_list",
    "_internal_kv_put",
]


def _internal_kv_initialized() -> bool:
    """Whether there is a cluster whose table could be asked."""
    return _raylet.is_connected()


def _internal_kv_put(
    key: str | bytes,
    value: str | bytes,
    overwrite: bool = True,
    namespace: str | bytes | None = None,
) -> bool:
    """Store a value; with `overwrite=False` not over another one. Returns whether the key was there before."""
    return not _raylet.kv_put(_space(namespace), _key(key), _bytes("value", value), overwrite)


def _internal_kv_get(key: str | bytes, namespace: str | bytes | None = None) -> bytes | None:
    """The value; None when there is none."""
    return _raylet.kv_get(_space(namespace), _key(key))


def _internal_kv_exists(key: str | bytes, namespace: str | bytes | None = None) -> bool:
    """Whether the key has a value."""
    return _internal_kv_get(key, namespace) is not None


def _internal_kv_del(
    key: str | bytes, del_by_prefix: bool = False, namespace: str | bytes | None = None
) -> int:
    """Delete a key, or all that begin with it. Returns how many there were."""
    return _raylet.kv_delete(_space(namespace), _key(key), del_by_prefix)


def _internal_kv_list(prefix: str | bytes, namespace: str | bytes | None = None) -> list[bytes]:
    """The keys that begin with `prefix`."""
    keys = _raylet.kv_keys(_space(namespace), _key(prefix))
    return [key.encode("latin-1") for key in keys]


def _bytes(name: str, value: str | bytes) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be bytes or str, not {type(value).__name__}")
    return value.encode() if isinstance(value, str) else value


def _key(key: str | bytes) -> str:
    # The GCS has text for keys: a character a byte.
    return _bytes("key", key).decode("latin-1")


def _space(namespace: str | bytes | None) -> str:
    require_started()
    return "kv:" + ("" if namespace is None else _bytes("namespace", namespace).decode("latin-1"))
