"""Labels of nodes and what is wanted of them: from what users write to the terms that the core takes.

Place: the ground. A selector is a tuple of terms `(key, op, values)`, sorted by key; a choice is a tuple of
selectors, the best first; `op` counts as `cyray::LabelOp` (cpp/cyray/common/labels.h).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = range(4)

Term = tuple[str, int, tuple[str, ...]]
Selector = tuple[Term, ...]
Choice = tuple[Selector, ...]

PREFIX = "cyray.io/"
_RAY_PREFIX = "ray.io/"  # read as the same
NODE_ID = PREFIX + "node-id"
ACCELERATOR_TYPE = PREFIX + "accelerator-type"

_KEY = re.compile(
    r"([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?/)?[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?"
)
_VALUE = re.compile(r"([a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?)?")
_LISTED = re.compile(r"(!?)in\((.*)\)")
_MOST = 63  # characters of a name or a value
_MOST_PREFIX = 253


def key_of(given: Any) -> str:
    """A label's key: `name` or `prefix/name`. TypeError or ValueError for what can be none."""
    if not isinstance(given, str):
        raise TypeError(f"A label's key must be a string, not {given!r}.")
    prefix, _, name = given.rpartition("/")
    if not _KEY.fullmatch(given) or len(name) > _MOST or len(prefix) > _MOST_PREFIX:
        raise ValueError(
            f"Invalid label key {given!r}: it is a name of letters, digits, '-', '_' and '.' that begins and ends "
            f"with a letter or digit, at most {_MOST} of them, and may have a prefix like 'example.com/'."
        )
    if given.startswith(_RAY_PREFIX):
        return PREFIX + given[len(_RAY_PREFIX) :]
    return given


def value_of(key: str, given: Any) -> str:
    """A label's value. TypeError or ValueError for what can be none."""
    if not isinstance(given, str):
        raise TypeError(f"The label {key!r} must have a string as its value, not {given!r}.")
    if not _VALUE.fullmatch(given) or len(given) > _MOST:
        raise ValueError(
            f"Invalid value {given!r} of the label {key!r}: it is made of letters, digits, '-', '_' and '.', begins "
            f"and ends with a letter or digit, and has at most {_MOST} of them."
        )
    return given


def node_labels(given: Any) -> dict[str, str]:
    """The labels of a node as its user gives them; those that cyray itself sets are refused."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TypeError(f"'labels' must be a dict of strings, not {type(given).__name__}.")
    labels = {}
    for key, value in given.items():
        name = key_of(key)
        if name == NODE_ID:
            raise ValueError(f"The label {key!r} is set by cyray itself.")
        labels[name] = value_of(key, value)
    return labels


def selector_of(given: Any, what: str = "label_selector") -> Selector:
    """Of `{"region": "eu", "disk": "!slow", "zone": "in(a,b)", "tier": "!in(x,y)"}`; `what`: where it was given."""
    if not isinstance(given, Mapping):
        raise TypeError(f"'{what}' must be a dict of strings, not {type(given).__name__}.")
    return tuple(sorted(_term(key_of(key), value) for key, value in given.items()))


def _term(key: str, text: Any) -> Term:
    if not isinstance(text, str):
        raise TypeError(
            f"The label selector of {key!r} must be a string such as 'a', '!a', 'in(a,b)' or '!in(a,b)', not {text!r}."
        )
    listed = _LISTED.fullmatch(text)
    if listed is None and "(" in text:
        raise ValueError(
            f"Invalid label selector {text!r} of {key!r}: it is one value, 'a' or '!a', or several, 'in(a,b)' or "
            "'!in(a,b)'."
        )
    if listed is None:
        wanted = text.removeprefix("!")
        return key, NOT_IN if text.startswith("!") else IN, (value_of(key, wanted),)
    values = tuple(sorted({value_of(key, value.strip()) for value in listed[2].split(",")}))
    return key, NOT_IN if listed[1] else IN, values


def terms_of(conditions: Any, what: str) -> Selector:
    """Of `{"region": In("eu"), "gpu": Exists()}`, as `NodeLabelSchedulingStrategy` takes them."""
    if conditions is None:
        return ()
    if not isinstance(conditions, Mapping):
        raise TypeError(f"'{what}' must be a dict of conditions, not {type(conditions).__name__}.")
    terms = []
    for given, condition in conditions.items():
        key = key_of(given)
        op = getattr(condition, "_cyray_op", None)
        if op is None:
            raise ValueError(
                f"'{what}' of {given!r} must be In, NotIn, Exists or DoesNotExist, not {condition!r}."
            )
        terms.append((key, op, tuple(sorted(value_of(key, value) for value in condition.values))))
    return tuple(sorted(terms))
