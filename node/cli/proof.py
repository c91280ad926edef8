"""`receipt` and `verify`: proofs that leave the node, and their check without it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from consensus.genesis import Genesis, GenesisError
from consensus.verify import Trust, Verdict, verify_file
from gossip.identity import Ed25519Verifier
from node.cli.pages import trust_of, trusted
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs, short
from node.errors import NodeError
from node.storage.durable import replace_file

_MAX_BYTES = 64 * 1024 * 1024


@click.command()
@click.argument("name", metavar="HASH")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file."
)
@with_session
def receipt(session: Session, *, name: str, output: Path | None) -> None:
    """Get the proof of what became of a transaction."""
    with session.client() as client:
        proof = client.receipt(name)
    text = json.dumps(proof, indent=2)
    if output is None:
        session.tell(proof, text)
        return
    try:
        replace_file(output, f"{text}\n".encode())
    except OSError as error:
        raise NodeError(f"{output} cannot be written ({error.strerror})") from None
    session.tell(
        {"file": str(output)},
        f"{output} is written. Anybody can check it: "
        f"bizra-node verify {output} --genesis {session.home.genesis}",
    )


@click.command()
@click.argument("file", metavar="RECEIPT.json", type=click.Path(path_type=Path))
@click.option(
    "--genesis", type=click.Path(path_type=Path), help="The genesis file (default: the home's own)."
)
@trusted
@with_session
def verify(session: Session, *, file: Path, genesis: Path | None, trust: str | None) -> None:
    """Check a receipt offline: nothing is asked of anybody, nothing trusted but the genesis."""
    pinned = None if trust is None else trust_of(trust)
    path = genesis or session.home.genesis
    try:
        federation = Genesis.load(_read(path, "name the genesis file with --genesis FILE"))
    except GenesisError as error:
        raise NodeError(f"{path} is no genesis file: {error}") from None
    verdict = verify_file(_read(file, "check the name"), federation, Ed25519Verifier(), pinned)
    signers = [node.hex() for node in verdict.signers]
    session.tell(
        {
            "valid": verdict.valid,
            "reason": verdict.reason,
            "kind": verdict.kind,
            "countersigned": verdict.countersigned,
            "height": verdict.height,
            "signers": signers,
            "power": verdict.power,
            "quorum": verdict.quorum,
            "trusted": _trusted(pinned),
        },
        _text(verdict, federation, pinned),
    )
    end_unless(done=verdict.valid)


def _trusted(trust: Trust | None) -> str:
    """What a verdict rests on."""
    if trust is None:
        return (
            "the genesis, and that no more than a third of any set of validators since then has "
            "signed another history, with old keys too (--trust EPOCH:HASH pins a recent set)"
        )
    return f"the genesis, and the validators of epoch {trust.epoch} that you named"


def _text(verdict: Verdict, genesis: Genesis, trust: Trust | None) -> str:
    if not verdict.valid:
        return f"NOT VALID: {verdict.reason}"
    return pairs(
        [
            (
                "valid",
                f"yes, in the federation {genesis.name} ({short(genesis.federation_id.hex())})",
            ),
            ("proves", verdict.kind + ", signed for by its asker too" * verdict.countersigned),
            ("height", str(verdict.height)),
            ("power", f"{verdict.power} signed, {verdict.quorum} are a quorum"),
            ("signers", " ".join(short(node.hex()) for node in verdict.signers)),
            ("trusted", _trusted(trust)),
        ]
    )


def _read(path: Path, remedy: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise NodeError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > _MAX_BYTES:
        raise NodeError(f"{path} is larger than {_MAX_BYTES:,} bytes: it is no such file")
    return content
