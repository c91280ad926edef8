"""Beginnings: keys for a new home, a new federation, and the first contents of its databases.

Everything here may be interrupted and done again. The databases are complete before the genesis
file appears, so a home with a genesis can always run.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.chain import ChainReader
from consensus.engine import initial_writes
from consensus.genesis import Genesis, GenesisError, found_alone
from gossip.codec import encode
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.durable import PUBLIC, create_file
from node.errors import NodeError
from node.home import Home
from node.keyfile import Purpose, create_key, load_key
from node.store import LevelStore, StoreError, StoreFault

FOUNDER_AMOUNT = 100_000_000
"""What a founder owns at the start, in the smallest unit: ten validators' grants."""


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
    return NodeKeys(
        load_key(home.identity_key, Purpose.IDENTITY), load_key(home.voting_key, Purpose.VOTING)
    )


def found(home: Home, keys: NodeKeys, name: str, created_ms: int) -> Genesis:
    """Found a federation of one in a prepared home. Raises `FoundingError`, `StoreError`."""
    if home.genesis.exists():
        raise FoundingError(
            f"{home.path} belongs to a federation already (see {home.genesis}); "
            "found another one in another home: --home DIR"
        )
    try:
        genesis = found_alone(
            name, created_ms, (keys.identity.node_id, keys.voting.public), FOUNDER_AMOUNT
        )
    except GenesisError as error:
        raise FoundingError(f"a federation can't be called {name[:80]!r}: {error}") from None
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
    for path in (home.peers, home.tasks):
        LevelStore(path, create=True).close()
    if not home.genesis.exists():
        create_file(home.genesis, genesis.to_json().encode(), PUBLIC)


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
