"""Beginnings: keys for a new home, a new federation, and the first contents of its databases.

Everything here may be interrupted and done again. The databases are complete before the genesis
file appears, so a home with a genesis can always run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from consensus.chain import ChainReader
from consensus.engine import initial_writes
from consensus.genesis import Genesis, GenesisError, found_alone
from consensus.parameters import Parameters
from gossip.codec import DecodeError, decode, decode_canonical, encode
from gossip.effects import KeyValueReader
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.errors import NodeError
from node.storage.durable import PUBLIC, create_file
from node.storage.home import Home
from node.storage.keyfile import KeyFileError, Purpose, create_key, load_key
from node.storage.store import LevelStore, StoreError, StoreFault
from node.storage.voting_key import finish_rotation, next_key

FOUNDER_AMOUNT = 100_000_000
"""What a founder owns at the start, in the smallest unit: ten validators' grants."""
_MOST_DIGITS = 30


class FoundingError(NodeError):
    """A home can't begin a federation's chain; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The two keys of a node."""

    identity: Ed25519Signer
    voting: Ed25519Signer


def prepare(home: Home) -> NodeKeys:
    """Make the folder, the token and the keys that a new home lacks, and load both keys.

    A home that belongs to a federation has voted or may vote: its voting key is never made anew.
    Raises `HomeError`, `KeyFileError`.
    """
    home.create()
    if not home.identity_key.exists() and not home.genesis.exists():
        create_key(home.identity_key, Purpose.IDENTITY)
    if not home.voting_key.exists() and not home.genesis.exists():
        create_key(home.voting_key, Purpose.VOTING)
    keys = load_keys(home)
    if not home.public_keys.exists():
        text = f"identity {keys.identity.public.hex()}\nvoting {keys.voting.public.hex()}\n"
        create_file(home.public_keys, text.encode(), PUBLIC)
    return keys


def load_keys(home: Home) -> NodeKeys:
    """Both keys, if they are those that this home began with.

    With another node's keys its votes and its peers would be somebody else's. Raises `KeyFileError`.
    """
    keys = NodeKeys(
        load_key(home.identity_key, Purpose.IDENTITY), load_key(home.voting_key, Purpose.VOTING)
    )
    try:
        noted = dict(line.split() for line in home.public_keys.read_text("ascii").splitlines())
    except FileNotFoundError:
        return keys
    except (OSError, ValueError) as error:
        raise FoundingError(
            f"{home.public_keys} can't be used ({error}); delete it if you are sure that the keys "
            f"in {home.path} belong there"
        ) from None
    pending = next_key(home)
    if pending is not None and noted.get("voting") == pending.public.hex():
        finish_rotation(home, keys.identity.public, pending.public)
        keys = NodeKeys(keys.identity, load_key(home.voting_key, Purpose.VOTING))
    for path, name, signer in (
        (home.identity_key, "identity", keys.identity),
        (home.voting_key, "voting", keys.voting),
    ):
        if noted.get(name) != signer.public.hex():
            raise KeyFileError(
                f"{path} is another node's key: this home began with {noted.get(name)}, which "
                f"{home.public_keys} names; put back your copy of it"
            )
    return keys


def check_chain(home: Home, genesis: Genesis, chain: KeyValueReader) -> None:
    """Raises `StoreError` if the database holds another federation's chain."""
    if ChainReader(chain).genesis() != encode(genesis):
        raise StoreError(
            StoreFault.FAILED,
            f"the database {home.chain} holds the chain of another federation than "
            f"{home.genesis} says; put back the genesis file that belongs to it, or delete that "
            "file, and the right one is written from the chain",
        )


def constants(wished: Sequence[str]) -> Parameters:
    """The federation's constants, some of them as wished by NAME=VALUE. Raises `FoundingError`."""
    known = {field.name: field.default for field in msgspec.structs.fields(Parameters)}
    said: dict[str, object] = {}
    for one in wished:
        name, equals, text = one.partition("=")
        if name not in known or not equals:
            raise FoundingError(
                f"{one[:80]!r} is not NAME=VALUE with a constant of a federation; those are: "
                + ", ".join(known)
            )
        said[name] = _constant(name, text, known[name])
        try:
            decode(encode(msgspec.structs.replace(Parameters(), **{name: said[name]})), Parameters)
        except DecodeError as error:
            why = str(error).partition(" - at")[0]
            raise FoundingError(f"{one[:80]}: {why}; it is {known[name]} unless said") from None
    return msgspec.structs.replace(Parameters(), **said)


def _constant(name: str, text: str, usual: object) -> object:
    if isinstance(usual, bool):
        if text in ("true", "false"):
            return text == "true"
        raise FoundingError(f"{name}={text[:80]}: true or false")
    if isinstance(usual, int):
        if text.isascii() and text.isdigit():
            return int(text[:_MOST_DIGITS])
        raise FoundingError(f"{name}={text[:80]}: a whole number, such as {name}={usual}")
    return text


def found(
    home: Home,
    keys: NodeKeys,
    name: str,
    created_ms: int,
    parameters: Parameters | None = None,
) -> Genesis:
    """Found a federation of one in a prepared home. Raises `FoundingError`, `StoreError`."""
    if home.genesis.exists():
        raise FoundingError(
            f"{home.path} belongs to a federation already (see {home.genesis}); "
            "found another one in another home: --home DIR"
        )
    try:
        genesis = found_alone(
            name,
            created_ms,
            (keys.identity.node_id, keys.voting.public),
            FOUNDER_AMOUNT,
            parameters,
        )
    except GenesisError as error:
        raise FoundingError(f"the federation {name[:80]!r} can't be founded: {error}") from None
    begin_chain(home, genesis)
    return genesis


def begin_chain(home: Home, genesis: Genesis) -> None:
    """Make the databases of a federation's chain and write the genesis file. Doing it twice is fine.

    Raises `StoreError` if the databases hold another federation's chain.
    """
    with LevelStore(home.votes, create=True), LevelStore(home.chain, create=True) as chain:
        present = ChainReader(chain).genesis()
        if present is None:
            chain.write(initial_writes(genesis, Ed25519Verifier()))
        elif present != encode(genesis):
            raise StoreError(
                StoreFault.FAILED,
                f"the database {chain.path} holds the chain of another federation; "
                "join this one from another home: --home DIR",
            )
    for path in (home.pool, home.peers, home.tasks):
        LevelStore(path, create=True).close()
    if not home.genesis.exists():
        create_file(home.genesis, genesis.to_json().encode(), PUBLIC)


def resume(home: Home) -> Genesis | None:
    """Write the genesis file again for a chain that is here without it; None if there is no chain.

    So ends a beginning that was interrupted just before the file appeared, and so is one that was deleted made good.
    Raises `StoreError`, and `FoundingError` if what the database holds is no genesis.
    """
    if not home.chain.exists():
        return None
    with LevelStore(home.chain, create=True) as chain:
        present = ChainReader(chain).genesis()
    if present is None:
        return None
    try:
        genesis = decode_canonical(present, Genesis)
    except DecodeError as error:
        raise FoundingError(f"the database {home.chain} holds no genesis ({error})") from None
    LevelStore(home.votes).close()
    create_file(home.genesis, genesis.to_json().encode(), PUBLIC)
    return genesis


def load_genesis(home: Home) -> Genesis | None:
    """The federation that a home belongs to, or None. Raises `FoundingError` if it is damaged."""
    try:
        return Genesis.load(home.genesis.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, GenesisError) as error:
        raise FoundingError(
            f"{home.genesis} can't be used ({error}); copy it from another node of the federation"
        ) from None
