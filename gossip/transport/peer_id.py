"""libp2p's name for an Ed25519 key, and back.

A PeerID is base58 of a multihash. A key this short is not hashed but embedded: the "identity"
multihash of the protobuf `PublicKey{type: Ed25519, data: 32 bytes}`. Source: libp2p specs,
peer-ids. It always begins with 12D3KooW.
"""

from __future__ import annotations

from gossip.identity import NodeId

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
# multihash: identity (0x00), 36 bytes follow; protobuf: field 1 = 1 (Ed25519), field 2 = 32 bytes
# follow
_PREFIX = bytes.fromhex("0024080112 20")
_PEER_ID_BYTES = len(_PREFIX) + 32
_PEER_ID_LETTERS = 52


def peer_id_from_node_id(node_id: NodeId) -> str:
    """The text form, as it stands behind /p2p/ in a multiaddr."""
    number = int.from_bytes(_PREFIX + node_id)
    letters = []
    while number:
        number, value = divmod(number, 58)
        letters.append(_ALPHABET[value])
    # Base58 writes each leading zero byte as a "1"; the prefix has exactly one.
    return "1" + "".join(reversed(letters))


def node_id_from_peer_id(peer_id: str) -> NodeId:
    """Raises `ValueError` for text that is not the PeerID of an Ed25519 key."""
    if len(peer_id) != _PEER_ID_LETTERS or not set(peer_id) <= _VALUES.keys():
        raise ValueError(f"not the PeerID of an Ed25519 key: {peer_id[:80]!r}")
    number = 0
    for letter in peer_id:
        number = number * 58 + _VALUES[letter]
    raw = (
        number.to_bytes(_PEER_ID_BYTES + 1)[1:]
        if number.bit_length() <= 8 * _PEER_ID_BYTES
        else b""
    )
    if not raw.startswith(_PREFIX):
        raise ValueError(f"not the PeerID of an Ed25519 key: {peer_id!r}")
    return NodeId(raw[len(_PREFIX) :])
