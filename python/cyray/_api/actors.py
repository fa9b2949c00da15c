"""Actors by name, and their end.

Place: on the driver's session and the core.
"""

from __future__ import annotations

import pickle
from typing import Any

from cyray import _raylet
from cyray._driver.init import auto_init
from cyray._process import ActorExit, me


def get_actor(name: str, namespace: str | None = None) -> Any:
    """A weak handle of a named actor.

    Raises:
        ValueError: there is none of that name in the namespace.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"get_actor() takes the name of an actor, a string, not {name!r}. An actor without a name is found "
            "by its handle alone."
        )
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    auto_init()
    where = me.namespace if namespace is None else namespace
    found = _raylet.get_actor_by_name(name, where)
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}' in the namespace '{where}': nobody made it "
            "there, or it is dead. cyray.util.list_named_actors(all_namespaces=True) shows those "
            "that live."
        )
    actor_id, meta = found
    return _raylet.make_handle(actor_id, pickle.loads(meta), None)


def list_named_actors(all_namespaces: bool) -> list[tuple[str, str]]:
    """Names and namespaces of the named actors that are not dead."""
    mine = me.namespace
    return [
        (actor["name"], actor["namespace"])
        for actor in _raylet.list_actors()
        if actor["name"]
        and actor["state"] != "Dead"
        and (all_namespaces or actor["namespace"] == mine)
    ]


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """End an actor's process at once; it is restarted only with `no_restart=False`.

    Raises:
        ValueError: `actor` is not an actor handle.
        ActorHandleNotFoundError: it is one of a session that was shut down.
    """
    if not isinstance(actor, _raylet.ActorHandle):
        raise ValueError(f"cyray.kill() only supported for actors. Got: {type(actor)}.")
    if actor._is_stale:
        from cyray._errors.classes import ActorHandleNotFoundError

        raise ActorHandleNotFoundError(_raylet.of_ended_session(str(actor)))
    _raylet.kill_actor(actor._actor_id, no_restart, "")


def exit_actor() -> None:
    """End the actor that runs this code; calls that are queued fail with its death.

    Raises:
        TypeError: this process is no actor.
    """
    if _raylet.current_actor_id() is None:
        raise TypeError("exit_actor called on a non-actor worker.")
    raise ActorExit
