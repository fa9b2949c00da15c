"""Where `RuntimeContext` is to be found; `cyray.get_runtime_context()` gives one."""

from cyray._api.context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
