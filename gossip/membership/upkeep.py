"""What is looked after every second: links that are not settled or frozen, and what is to be on disk."""

from __future__ import annotations

from gossip.effects import Persist, Store, Write
from gossip.identity import NodeId
from gossip.membership.detector import Detector
from gossip.membership.events import MembershipEffect
from gossip.membership.gate import Gate
from gossip.membership.handshake import Handshake
from gossip.membership.links import ANSWERS_A_BEAT, CHECKS_A_BEAT, Link
from gossip.membership.messages import Standing
from gossip.membership.peer_table import PeerTable
from gossip.membership.record_exchange import RecordExchange
from gossip.membership.timing import Timing, spaced

_HELLO_DOUBLINGS = 4
_SWEEP_MS = 5_000


def tend_strangers(
    out: list[MembershipEffect], gate: Gate, handshake: Handshake, timing: Timing
) -> None:
    """Without a federation: say hello again to whom it did not reach."""
    for peer, link in gate.links.open():
        link.answers, link.checks = ANSWERS_A_BEAT, CHECKS_A_BEAT
        if link.told is None and _is_overdue(gate, link, timing):
            handshake.say_hello(out, peer, link)


class Upkeep:
    """The beat of a node in its federation. `begin` it when the node starts."""

    def __init__(
        self,
        gate: Gate,
        exchange: RecordExchange,
        handshake: Handshake,
        detector: Detector,
        timing: Timing,
    ) -> None:
        self._gate, self._exchange, self._handshake = gate, exchange, handshake
        self._detector, self._timing = detector, timing
        self._saved_ms = self._renewed_ms = self._swept_ms = 0

    def begin(self) -> None:
        """The record was renewed and written down just now."""
        self._saved_ms = self._renewed_ms = self._gate.now_ms

    def beat(self, out: list[MembershipEffect], *, is_partial: bool) -> None:
        """Look after all of it. Only in a partial mesh somebody needs a record that says nothing new."""
        for peer, link in self._gate.links.open():
            link.answers, link.checks = ANSWERS_A_BEAT, CHECKS_A_BEAT
            self._tend(out, peer, link)
        self._forget_outsiders()
        refresh_ms = spaced(self._timing.refresh_ms, self._exchange.table.members)
        if is_partial and self._gate.now_ms - self._renewed_ms >= refresh_ms:
            self._renewed_ms = self._gate.now_ms
            self._exchange.change_own()
        self._keep(out)

    def _tend(self, out: list[MembershipEffect], peer: NodeId, link: Link) -> None:
        """Say hello again, in case it or its answer was lost; drop who is frozen."""
        if link.told is not Standing.MEMBER and _is_overdue(self._gate, link, self._timing):
            self._handshake.say_hello(out, peer, link)
        case = self._detector.case(peer)
        if case is not None and case.own_ms is not None:
            silence_ms = self._gate.now_ms - max(case.own_ms, link.up_ms)
            if silence_ms >= self._timing.drop_ms:
                reason = f"nothing was heard of it for {silence_ms // 1000} s"
                self._handshake.give_up(out, peer, link, reason)
                return
        self._handshake.review(out, peer, link)

    def _keep(self, out: list[MembershipEffect]) -> None:
        """Write down what has changed, and now and then all times."""
        writes: list[Write] = [
            *self._gate.used_invites.sweep(self._gate.now_ms),
            *self._gate.introductions.drop_invites(
                self._gate.now_ms, admitted=not self._gate.is_joining
            ),
        ]
        save_ms = spaced(self._timing.save_ms, self._exchange.table.members)
        if self._gate.now_ms - self._saved_ms >= save_ms:
            self._saved_ms = self._gate.now_ms
            writes.extend(self._exchange.table.everything())
        else:
            writes.extend(self._exchange.table.unsaved())
        if writes:
            out.append(Persist(Store.PEERS, tuple(writes)))

    def _forget_outsiders(self) -> None:
        """Who was believed to be a member while we joined, or has been removed."""
        table: PeerTable = self._exchange.table
        if not self._gate.is_joining and self._gate.now_ms - self._swept_ms >= _SWEEP_MS:
            self._swept_ms = self._gate.now_ms
            table.forget(
                [
                    node
                    for node, peer in table.rows()
                    if not self._gate.is_let_in(node)
                    and self._gate.now_ms - peer.first_seen_ms >= self._timing.forget_ms
                ]
            )


def _is_overdue(gate: Gate, link: Link, timing: Timing) -> bool:
    patience_ms = timing.hello_ms << min(link.hellos - 1, _HELLO_DOUBLINGS)
    return gate.now_ms - link.hello_ms >= patience_ms
