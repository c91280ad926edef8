"""What is taken from py-libp2p, how, and why no more: the one module that touches the library.

py-libp2p 0.8.1 has faults with which a stranger ends the process or fills its memory. They live in
its host, its swarm and its muxer; so these are left out rather than patched, and the protocols they
speak are spoken here by small modules with every buffer bounded. From the library comes what is
hard to get right and sound as it is: keys, and the Noise handshake that proves who the other side
is. Nothing is monkey-patched. What would have been repaired, and where it is now:

* B1, 250 connections in total and no more: `libp2p` counts those that live.
* B2, two bytes from a peer end the host: `multistream` has an error for them, and a wall stands
  around each connection and stream.
* B3, forged GossipSub messages: there is no GossipSub.
* B4, plaintext and secio are offered: only /noise is ever named, in both roles.
* B5, a cancel in a write cuts a frame; a frozen peer holds writers: `muxer` has one task that
  writes to the socket, which no caller's cancel scope reaches, and closes it on expiry.
* B6, flow control is not enforced: `yamux` ends the connection.
* Failed dials cached, one address per dial, idle halves that hold slots, unnoticed freezes,
  one-byte reads, a window update a read: with the swarm, they are gone.

The handshake reaches into objects of the library that another version may shape differently, so
`check_library` refuses every version but the one that was tried.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import gossip.transport.bare_libp2p  # noqa: F401 - before the library is imported

# isort: split

from libp2p.crypto.ed25519 import Ed25519PublicKey, create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.security.noise.patterns import PatternXX
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from gossip.identity import NodeId
from gossip.transport.peer_id import node_id_from_peer_id

if TYPE_CHECKING:
    from libp2p.abc import IRawConnection
    from libp2p.crypto.keys import KeyPair

TRIED_VERSION = "0.8.1"
_TRIED_SIGNATURES: dict[Callable[..., Any], tuple[str, ...]] = {
    PatternXX.__init__: ("self", "local_peer", "libp2p_privkey", "noise_static_key"),
    PatternXX.handshake_inbound: ("self", "conn"),
    PatternXX.handshake_outbound: ("self", "conn", "remote_peer"),
    SecureSession.get_remote_peer: ("self",),
    NoiseTransportReadWriter.encrypt: ("self", "data"),
    NoiseTransportReadWriter.decrypt: ("self", "data"),
    create_new_key_pair: ("seed",),
}

_LENGTH_BYTES = 2
_TAG_BYTES = 16
_MAX_PLAINTEXT_BYTES = 2**16 - 1 - _TAG_BYTES


class LibraryError(Exception):
    """The installed py-libp2p is not the one that this code was made for."""


def check_library() -> None:
    """Raise `LibraryError` unless the library is the one that was tried."""
    version = importlib.metadata.version("libp2p")
    if version != TRIED_VERSION:
        raise LibraryError(
            f"libp2p {version} is installed, and only {TRIED_VERSION} was tried: "
            "install from requirements.lock"
        )
    for function, expected in _TRIED_SIGNATURES.items():
        found = tuple(inspect.signature(function).parameters)
        if found[: len(expected)] != expected:
            raise LibraryError(
                f"libp2p's {function.__qualname__} takes {found}, not {expected}: "
                "install from requirements.lock"
            )


class HandshakeError(Exception):
    """The other side did not prove an identity; the text says why."""


class Wire(Protocol):
    """A raw connection during the handshake. Both raise `ConnectionError` when it is cut."""

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes."""

    async def write(self, data: bytes) -> None: ...


class SecureChannel:
    """Noise packets after the handshake, without I/O: seal what goes out, open what came in."""

    def __init__(self, noise: NoiseTransportReadWriter) -> None:
        self._noise = noise
        self._waiting = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished packet is held."""
        return len(self._waiting)

    def seal(self, data: bytes) -> bytes:
        """Encrypt into as few packets as possible."""
        packets: list[bytes] = []
        for start in range(0, len(data), _MAX_PLAINTEXT_BYTES):
            packet = self._noise.encrypt(data[start : start + _MAX_PLAINTEXT_BYTES])
            packets += (len(packet).to_bytes(_LENGTH_BYTES), packet)
        return b"".join(packets)

    def open(self, data: bytes) -> bytes:
        """Decrypt the packets that `data` completes. Raises `ConnectionError` for a forged one."""
        self._waiting += data
        opened = []
        start = 0
        while len(self._waiting) - start >= _LENGTH_BYTES:
            end = start + _LENGTH_BYTES + int.from_bytes(self._waiting[start : start + 2])
            if end > len(self._waiting):
                break
            try:
                packet = bytes(self._waiting[start + _LENGTH_BYTES : end])
                opened.append(self._noise.decrypt(packet))
            except Exception as error:
                # Whatever the ciphers raise.
                raise ConnectionError("it sent a packet that was not sealed by it") from error
            start = end
        del self._waiting[:start]
        return b"".join(opened)


@dataclass(frozen=True, slots=True)
class Secured:
    """The result of a handshake: who is there, and the channel to it."""

    peer: NodeId
    channel: SecureChannel


class Identity:
    """Our Ed25519 key in the library's form, and a fresh Noise key for this run, signed by it."""

    def __init__(self, seed: bytes) -> None:
        self._keys: KeyPair = create_new_key_pair(seed)
        self._noise_key = create_new_x25519_key_pair().private_key
        self._peer_id = ID.from_pubkey(self._keys.public_key)
        self.node_id = NodeId(self._keys.public_key.to_bytes())

    async def handshake(self, wire: Wire, *, outbound: bool) -> Secured:
        """Prove who we are and have the other side prove it, by the XX pattern.

        Raises `HandshakeError` for everything that the other side can do wrong.
        """
        pattern = PatternXX(self._peer_id, self._keys.private_key, self._noise_key)
        # Of a raw connection the handshake uses `read` and `write` alone.
        connection = cast("IRawConnection", wire)
        try:
            if outbound:
                session = await pattern.handshake_outbound(connection, None)
            else:
                session = await pattern.handshake_inbound(connection)
            peer = node_id_from_peer_id(str(session.get_remote_peer()))
        except Exception as error:
            # Ciphers, protobuf and key parsers each raise their own for the same garbage.
            what = str(error) or type(error).__name__
            raise HandshakeError(f"the Noise handshake failed: {what}") from error
        assert isinstance(session, SecureSession)
        assert isinstance(session.conn, NoiseTransportReadWriter)
        return Secured(peer, SecureChannel(session.conn))

    def identify(self, listening: list[str], observed: str, protocols: list[str]) -> bytes:
        """Our answer to /ipfs/id/1.0.0, a protobuf. Addresses are given without /p2p/."""
        assert isinstance(self._keys.public_key, Ed25519PublicKey)
        answer = Identify(
            protocol_version="bizra/1",
            agent_version="bizra-node",
            public_key=self._keys.public_key.serialize(),
            listen_addrs=[Multiaddr(address).to_bytes() for address in listening],
            observed_addr=Multiaddr(observed).to_bytes(),
            protocols=protocols,
        )
        return answer.SerializeToString()
