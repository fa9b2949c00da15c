"""Where the class of remote functions is to be found; `@cyray.remote` makes them."""

from cyray._raylet import RemoteFunction

__all__ = ["RemoteFunction"]
