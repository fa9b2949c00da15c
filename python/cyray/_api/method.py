"""Methods of actors: their options, and the templates of their calls.

Place: `describe_method` is reached from `_raylet` through `_hooks`, once for each method of a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyray._pickle import extra as _extra
from cyray._spec import options as _options
from cyray._spec import plans

BUILTIN_METHODS = ("__ray_ready__", "__ray_terminate__", "__ray_call__")


def portable(options: Mapping[str, Any]) -> dict[str, Any]:
    # Handles go to processes that do not know the user's classes: those inside are bytes to them.
    portable = dict(options)
    retry = portable.pop("retry_exceptions", None)
    if retry:
        portable["extra"] = _extra.dumps({"retry_exceptions": _extra.retry_types(retry)})
    return portable


def describe_method(
    meta: dict[str, Any], name: str, overrides: dict[str, Any] | None
) -> plans.MethodPlan:
    """The plan of a method: overrides of the call > `@method` > the actor's options.

    Raises:
        ValueError: it is a generator, and fewer than two values are asked for by their number.
    """
    options = {**meta["methods"].get(name, {}), **portable(overrides or {})}
    if "retry_exceptions" in (overrides or {}) and not (overrides or {})["retry_exceptions"]:
        options.pop("extra", None)  # this call takes back what `@method` says
    whole_name = f"{meta['class_name']}.{name}"
    yields = _options.yields(whole_name, options.get("generator"), options.get("num_returns"))
    return plans.method_plan(meta, name, options, yields)


def method(*args: Any, **options: Any) -> Any:
    """Give a method of an actor class its own options: `@method(num_returns=2)`.

    Raises:
        ValueError, TypeError: an option is unknown or of the wrong type.
    """
    if args or not options:
        raise TypeError("@method takes keyword options alone, such as @method(num_returns=2)")
    checked = _options.method_options(options)

    def annotate(function: Any) -> Any:
        function.__cyray_method_options__ = checked
        return function

    return annotate
