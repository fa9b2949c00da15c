"""experimental.internal_kv: small values that all processes see; and modules that only have other names."""

from __future__ import annotations

import pytest

import cyray
from cyray.experimental import internal_kv as kv

pytestmark = pytest.mark.usefixtures("shared_session")


def test_values_are_seen_by_every_process_until_they_are_deleted():
    assert kv._internal_kv_initialized()
    assert kv._internal_kv_put("one", b"1") is False
    assert kv._internal_kv_put(b"one", "2", overwrite=False) is True

    @cyray.remote
    def read():
        return kv._internal_kv_get("one"), kv._internal_kv_exists("two")

    assert cyray.get(read.remote()) == (b"1", False)
    assert kv._internal_kv_put("one", b"3") is True
    assert kv._internal_kv_get(b"one") == b"3"
    assert kv._internal_kv_del("one") == 1 and kv._internal_kv_del("one") == 0
    assert kv._internal_kv_get("one") is None and not kv._internal_kv_exists("one")


def test_keys_are_bytes_and_namespaces_are_apart():
    for key in (b"\xff\x00", "ü", b"p:1", b"p:2"):
        kv._internal_kv_put(key, key, namespace="n")
    assert kv._internal_kv_get("ü".encode(), namespace=b"n") == "ü".encode()
    assert kv._internal_kv_get(b"\xff\x00", namespace="n") == b"\xff\x00"
    assert kv._internal_kv_get("ü") is None
    assert sorted(kv._internal_kv_list("p:", namespace="n")) == [b"p:1", b"p:2"]
    assert kv._internal_kv_list(b"\xff", namespace="n") == [b"\xff\x00"]
    assert kv._internal_kv_del("p:", del_by_prefix=True, namespace="n") == 2
    assert kv._internal_kv_list("", namespace="n") != []


def test_what_is_neither_bytes_nor_text_is_refused():
    with pytest.raises(TypeError, match="key must be bytes or str, not int"):
        kv._internal_kv_get(1)
    with pytest.raises(TypeError, match="value must be"):
        kv._internal_kv_put("a", 1)


def test_other_places_have_the_same_objects():
    from cyray.experimental.multiprocessing import Pool
    from cyray.experimental.queue import Queue
    from cyray.remote_function import RemoteFunction
    from cyray.runtime_context import RuntimeContext
    from cyray.types import ObjectRef
    from cyray.util import multiprocessing, queue

    assert Pool is multiprocessing.Pool and Queue is queue.Queue and ObjectRef is cyray.ObjectRef
    assert isinstance(cyray.remote(len), RemoteFunction)
    context = cyray.get_runtime_context()
    assert isinstance(context, RuntimeContext)
    assert context.get_resource_ids() == context.get_accelerator_ids()
