"""Going on without a quorum, on a home whose daemon is stopped; the rules are in `consensus.recovery`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from consensus.chain import ChainReader
from consensus.genesis import Genesis
from consensus.ledger.machine import Ledger, LedgerError
from consensus.recovery import Recovery, RecoveryError, propose, record, same_hand_over, signed
from consensus.verify import recovery_fault
from gossip.codec import DecodeError
from gossip.effects import Write
from gossip.identity import Ed25519Verifier
from gossip.json_form import from_json, to_json
from node.errors import NodeError
from node.founding import load_genesis
from node.storage.durable import replace_file
from node.storage.home import Home
from node.storage.keyfile import Purpose, load_key
from node.storage.store import LevelStore

_MAX_BYTES = 1024 * 1024


def begin(home: Home, lost: Iterable[str]) -> Recovery:
    """A hand-over without the nodes whose ids begin so, signed by this one. Raises `NodeError`."""
    with home.lock(), LevelStore(home.chain) as chain:
        ledger = _ledger(home, chain)
        nodes = [node.hex() for node in ledger.validators.nodes]
        gone = []
        for prefix in lost:
            found = [node for node in nodes if node.startswith(prefix.lower())]
            if len(found) != 1:
                raise NodeError(
                    f"{prefix}: {len(found)} validators have an id that begins so; they are {', '.join(nodes)}"
                )
            gone.append(bytes.fromhex(found[0]))
        return _signed(home, _proposed(ledger, chain, gone)[0])


def agree(home: Home, recovery: Recovery) -> Recovery:
    """With this node's signature, if it comes to the same by itself. Raises `NodeError`."""
    with home.lock(), LevelStore(home.chain) as chain:
        own, _ = _proposed(_ledger(home, chain), chain, recovery.lost)
        _same(own, recovery)
        return _signed(home, recovery)


def go_on(home: Home, recovery: Recovery) -> bool:
    """Begin the epoch of the survivors in this home; False if it had begun. Raises `NodeError`."""
    members = recovery.link.members
    with home.lock(), LevelStore(home.chain) as chain:
        reader, ledger = ChainReader(chain), _ledger(home, chain)
        known = reader.epoch(members.epoch)
        if known is not None and known.members == members:
            return False
        voters = ledger.validators
        own, writes = _proposed(ledger, chain, recovery.lost)
        _same(own, recovery)
        fault = recovery_fault(
            recovery.link, voters, ledger.genesis.federation_id, Ed25519Verifier()
        )
        if fault is not None:
            waits = ", ".join(node.hex()[:12] for node in recovery.missing)
            raise NodeError(
                f"the hand-over does not hold: {fault}" + (f" ({waits})" if waits else "")
            )
        chain.write([*writes, record(recovery)])
    return True


def read(path: Path) -> Recovery:
    """A recovery file. Raises `NodeError`."""
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1]
    except OSError as error:
        raise NodeError(f"{path} cannot be read ({error.strerror}); check the name") from None
    try:
        return from_json(text, Recovery)
    except DecodeError as error:
        raise NodeError(f"{path} is no recovery file: {error}") from None


def write(path: Path, recovery: Recovery) -> None:
    """Write a recovery file. Raises `NodeError`."""
    try:
        replace_file(path, f"{to_json(recovery)}\n".encode())
    except OSError as error:
        raise NodeError(f"{path} cannot be written ({error.strerror})") from None


def _ledger(home: Home, chain: LevelStore) -> Ledger:
    genesis: Genesis | None = load_genesis(home)
    if genesis is None:
        raise NodeError(f"{home.path} belongs to no federation yet; there is nothing to recover")
    try:
        return Ledger.load(genesis, chain, Ed25519Verifier())
    except LedgerError as error:
        raise NodeError(f"the chain in {home.chain} can't be used: {error}") from None


def _proposed(
    ledger: Ledger, chain: LevelStore, lost: Iterable[bytes]
) -> tuple[Recovery, tuple[Write, ...]]:
    try:
        return propose(ledger, ChainReader(chain), lost)
    except RecoveryError as error:
        raise NodeError(str(error)) from None


def _same(own: Recovery, other: Recovery) -> None:
    difference = same_hand_over(own, other)
    if difference is not None:
        raise NodeError(f"this home does not go on from there: {difference}")


def _signed(home: Home, recovery: Recovery) -> Recovery:
    try:
        return signed(recovery, load_key(home.voting_key, Purpose.VOTING))
    except RecoveryError as error:
        raise NodeError(str(error)) from None
