"""The network of the transport's tests."""

from tests.gossip.transport.conftest import real, world

__all__ = ["real", "world"]
