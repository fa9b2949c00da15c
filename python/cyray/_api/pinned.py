"""Says that a ref that was pickled by hand keeps its object: nobody sees where the bytes go, or when they are gone.

Place: called by `_raylet` for such a ref, until it was said. Threading: the caller's; it runs in the midst of pickling.
"""

from __future__ import annotations

import sys
from types import FrameType

# Who pickles functions, options and errors for workers: what they hold is not the user's doing.
_OWN = ("cyray._pickle.definition", "cyray._pickle.extra", "cyray._errors.cause")

_OF_ACTOR = "f" * 8  # the end of the id of the ref that counts an actor's handles


def tell(ref: str) -> bool:
    """Writes the warning; False when it was cyray that pickled, so that nothing was to be said."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") in _OWN:
            return False
        frame = frame.f_back
    what, stays, kind = f"ObjectRef({ref})", "object stays in memory", "Refs"
    if ref.endswith(_OF_ACTOR):
        what, stays, kind = "an actor's handle", "actor lives", "Handles"
    sys.stderr.write(
        f"cyray: {what} was pickled by hand (pickle.dumps, cloudpickle, joblib, ...), so nobody can tell when "
        f"its bytes are gone: the {stays} as long as this process and its owner live. {kind} "
        "that go through tasks, actors and put() are counted. This is said once.\n"
    )
    return True
