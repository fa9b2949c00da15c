"""Serializers of the user's own, by class."""

from cyray._api.serializers import deregister_serializer, register_serializer

__all__ = ["deregister_serializer", "register_serializer"]
