# For type checkers: the public names of the extension, and `Any` for what the rest of the package uses of
# it. Everything is documented where it is written, in _raylet.pyx and includes/.
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, overload

class ObjectRef(Awaitable[Any]):
    def hex(self) -> str: ...
    def binary(self) -> bytes: ...
    def future(self) -> Future[Any]: ...
    def as_future(self) -> Any: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...

ObjectID = ObjectRef

class RemoteFunction:
    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any: ...
    def options(self, **options: Any) -> RemoteFunction: ...
    @property
    def underlying_function(self) -> Callable[..., Any]: ...

class ActorMethod:
    def remote(self, *args: Any, **kwargs: Any) -> Any: ...
    def options(self, **options: Any) -> ActorMethod: ...

class ActorHandle:
    _actor_id: bytes
    _is_stale: bool
    def __getattr__(self, name: str) -> ActorMethod: ...

@overload
def get(
    object_refs: list[Any],
    timeout: float | None = None,
    *,
    writable: bool = False,
    _use_object_store: bool = False,
) -> list[Any]: ...
@overload
def get(
    object_refs: Any,
    timeout: float | None = None,
    *,
    writable: bool = False,
    _use_object_store: bool = False,
) -> Any: ...
def put(value: Any, *, _owner: None = None) -> ObjectRef: ...
def wait(
    object_refs: list[ObjectRef] | None = None,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
    *,
    object_ids: list[ObjectRef] | None = None,
    ray_waitables: list[ObjectRef] | None = None,
) -> tuple[list[ObjectRef], list[ObjectRef]]: ...
def __getattr__(name: str) -> Any: ...
