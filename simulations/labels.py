"""The messages of consensus, each in a few words for whoever reads a trace or looks at a picture."""

from __future__ import annotations

from consensus.certificates import Phase
from consensus.messages import (
    Blocks,
    Body,
    Certified,
    CollectedStates,
    CollectedVotes,
    FetchBlocks,
    FetchBody,
    Fetched,
    FetchTransactions,
    FetchViewChanges,
    NewView,
    NewViewNames,
    Proposal,
    StateVote,
    Status,
    StoredBlocks,
    Suspect,
    Transactions,
    ViewChange,
    ViewChangeNames,
    Vote,
)
from simulations.snapshot_node import AskContent, AskSnapshot, ContentIs, SnapshotIs

_CONTENTS: dict[type, str] = {
    AskSnapshot: "ASK-SNAPSHOT",
    AskContent: "ASK-CONTENT",
    ContentIs: "CONTENT",
}
_PHASES = {Phase.PREPARE: "PREPARE", Phase.COMMIT: "COMMIT"}


def labelled(message: object) -> str:
    """Kind in capitals, then what it is about."""
    match message:
        case Proposal():
            return f"PROPOSAL v{message.view} h{message.height} {message.digest.hex()[:6]}"
        case Vote():
            ballot = message.ballot
            return (
                f"{_PHASES[ballot.phase]} v{ballot.view} h{ballot.height} {ballot.digest.hex()[:6]}"
            )
        case CollectedVotes():
            ballot = message.ballot
            return (
                f"COLLECTED-{_PHASES[ballot.phase]}S v{ballot.view} h{ballot.height}"
                f" {ballot.digest.hex()[:6]}"
            )
        case CollectedStates():
            return f"COLLECTED-STATES h{message.statement.height}"
        case StateVote():
            return f"STATE h{message.statement.height}"
        case Certified():
            return f"CERTIFIED h{message.certificate.statement.height}"
        case Suspect():
            return f"SUSPECT v{message.view}"
        case ViewChangeNames():
            return f"VIEW-CHANGE v{message.view}"
        case ViewChange():
            shown = message.prepared
            return f"VIEW-CHANGE v{message.view}" + (
                f" prepared h{shown.header.height}" if shown is not None else ""
            )
        case NewView() | NewViewNames():
            return f"NEW-VIEW v{message.view}"
        case Status():
            return f"STATUS v{message.view} h{message.height}"
        case _:
            return _of_contents(message)


def _of_contents(message: object) -> str:
    match message:
        case FetchBody():
            return f"FETCH-BODY {message.digest.hex()[:6]}"
        case Body():
            return f"BODY h{message.block.height}"
        case FetchViewChanges():
            return f"FETCH-VIEW-CHANGES {len(message.names)}"
        case FetchBlocks():
            return f"FETCH-BLOCKS h{message.first}"
        case Blocks() | StoredBlocks():
            return f"BLOCKS {len(message.blocks)}"
        case FetchTransactions():
            return f"FETCH-TRANSACTIONS {len(message.transactions)}"
        case Transactions() | Fetched():
            return f"{type(message).__name__.upper()} {len(message.raw)}"
        case SnapshotIs():
            return "SNAPSHOT" if message.proof else "NO-SNAPSHOT"
        case AskSnapshot() | AskContent() | ContentIs():
            return _CONTENTS[type(message)]
        case _:
            return type(message).__name__
