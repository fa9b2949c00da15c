"""Another name of `cyray.util.accelerators`."""

from cyray.util.accelerators import *  # noqa: F403
