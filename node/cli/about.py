"""`status`, `id`, `peers`: who is who."""

from __future__ import annotations

import sys

import click

from node.cli.session import Session, until_interrupted, with_session
from node.cli.shapes import age, pairs, plural, short, size, table
from node.views.records import PeersView, StatusView

_WATCH_S = 1.0


@click.command()
@with_session
def status(session: Session) -> None:
    """Show the running node: its federation, height, quorum, and how many faults it stands."""
    with session.client() as client:
        view = client.status()
    session.tell(view, _status_text(view))


def _status_text(view: StatusView) -> str:
    waits = " (waits to be let in)" if view.role == "applicant" else ""
    return pairs(
        [
            ("node", f"{view.name}, {view.role}{waits}"),
            ("id", view.node_id),
            ("federation", view.federation_id or "none yet"),
            ("height", f"{view.height}, block {short(view.block_hash)}"),
            ("epoch, view", f"{view.epoch}, {view.view}; primary {short(view.primary)}"),
            ("quorum", f"{view.quorum}; {tolerance(view.faults_tolerated)}"),
            ("votes", view.voting or "-"),
            ("peers", f"{view.peers} connected"),
            ("waiting", plural(view.pending_transactions, "transaction")),
            ("refused", _refused_text(view)),
            ("connections", _transport_text(view)),
            ("state root", view.state_root or "-"),
            ("version", view.version),
        ]
    )


def _refused_text(view: StatusView) -> str:
    """Messages that no honest peer sends; `--json` has all, by peer and reason."""
    bad = [one for one in view.refused if not one.usual]
    peers = {one.node_id for one in bad}
    if not bad:
        return "nothing that an honest peer would not send"
    reasons = ", ".join(sorted({one.reason for one in bad}))
    return f"{plural(sum(one.count for one in bad), 'message')} of {plural(len(peers), 'peer')}: {reasons}"


def _transport_text(view: StatusView) -> str:
    """All of them, strangers' too, and why some were shown out."""
    if view.transport is None:
        return "-"
    away = {why: count for why, count in sorted(view.transport.turned_away.items()) if count}
    held = size(view.transport.memory_bytes)
    text = (
        f"{view.transport.connections}, their buffers hold {held}; {sum(away.values())} turned away"
    )
    reasons = ", ".join(f"{why}: {count}" for why, count in away.items())
    return f"{text} ({reasons})" if reasons else text


def tolerance(faults: int) -> str:
    """How many validators may fail, said so that nobody expects more."""
    if not faults:
        return "tolerates no faulty validator (that takes four of equal power)"
    return f"tolerates {plural(faults, 'faulty validator')}"


@click.command("id")
@with_session
def identity(session: Session) -> None:
    """Show this node's id and peer id; works while the daemon is stopped."""
    from gossip.transport.peer_id import peer_id_from_node_id  # noqa: PLC0415 - slow to import
    from node.storage.keyfile import Purpose, load_key  # noqa: PLC0415 - as above

    signer = load_key(session.home.identity_key, Purpose.IDENTITY)
    node_id, peer_id = signer.node_id.hex(), peer_id_from_node_id(signer.node_id)
    session.tell(
        {"node_id": node_id, "peer_id": peer_id},
        pairs([("node id", node_id), ("peer id", peer_id)]),
    )


@click.command()
@click.option("--applicants", is_flag=True, help="Those who ask to be let in.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@with_session
def peers(session: Session, *, applicants: bool, watch: bool) -> None:
    """Show the nodes that this one knows."""
    with session.client() as client:
        for turn in until_interrupted(_WATCH_S) if watch else (0,):
            view = client.peers(applicants=applicants)
            if turn and not session.as_json:
                click.clear()
            session.tell(view, _peers_text(view, applicants=applicants))
            sys.stdout.flush()


def _peers_text(view: PeersView, *, applicants: bool) -> str:
    empty = "No peers yet. Another machine joins with an invite: bizra-node invite"
    if applicants:
        empty = "Nobody asks to be let in."
    text = table(
        (
            *(
                "NODE",
                "NAME",
                "STATUS",
                "ROLE",
                "SEEN",
                "RTT",
                "LOAD",
                "REPUTE",
                "IN",
                "OUT",
                "HELD",
            ),
            *("VERSION", "CAPABILITIES", "ADDRESS"),
        ),
        [
            (
                short(peer.node_id),
                peer.name,
                peer.status,
                peer.role,
                age(peer.last_seen_ms),
                "-" if peer.rtt_ms is None else f"{peer.rtt_ms:.1f} ms",
                f"{peer.load_per_mille / 10:.0f} %",
                "-" if peer.reputation is None else str(peer.reputation),
                "-" if peer.traffic is None else size(peer.traffic.bytes_in),
                "-" if peer.traffic is None else size(peer.traffic.bytes_out),
                "-" if peer.traffic is None else size(peer.traffic.memory_bytes),
                peer.version or "-",
                " ".join(name.removeprefix("inference.") for name in peer.capabilities) or "-",
                peer.addresses[0] if peer.addresses else "-",
            )
            for peer in view.peers
        ],
        empty=empty,
    )
    if applicants and view.peers:
        first = short(view.peers[0].node_id)
        text += f"\n\nLet one in: bizra-node admit {first} (as a validator: --validator)"
    return text
