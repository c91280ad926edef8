"""What travels between members: publications, offers of them by number, and requests for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from gossip.broadcast.topics import MAX_TOPIC
from gossip.codec import Bytes32, Bytes64, Digest, Natural, Wire
from gossip.identity import NodeId, Signer, Verifier, signing_bytes

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_SPANS = 256
MAX_NUMBERS = 256
MAX_TOGETHER = 64


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """The publications of one run of a publisher: numbered from 1 on, without gaps."""

    publisher: NodeId
    begun_ms: int


class Publication(Wire, frozen=True):
    """One event on a topic. `begun_ms` is when its publisher was started, `number` counts from there."""

    publisher: Bytes32
    begun_ms: Natural
    number: Natural
    sent_ms: Natural
    topic: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOPIC)]
    payload: Annotated[bytes, msgspec.Meta(max_length=MAX_PAYLOAD_BYTES)]

    @property
    def series(self) -> Series:
        """Which numbering it belongs to."""
        return Series(NodeId(self.publisher), self.begun_ms)


class SignedPublication(Wire, frozen=True):
    """A publication with its publisher's signature."""

    publication: Publication
    signature: Bytes64


class Publish(Wire, frozen=True, tag="publish"):
    """Publications, whole."""

    items: Annotated[tuple[SignedPublication, ...], msgspec.Meta(max_length=MAX_TOGETHER)]


class Span(Wire, frozen=True):
    """Some numbers of a series."""

    publisher: Bytes32
    begun_ms: Natural
    numbers: Annotated[tuple[Natural, ...], msgspec.Meta(max_length=MAX_NUMBERS)]

    @property
    def series(self) -> Series:
        """Which numbering they belong to."""
        return Series(NodeId(self.publisher), self.begun_ms)


Spans = Annotated[tuple[Span, ...], msgspec.Meta(max_length=MAX_SPANS)]


class Have(Wire, frozen=True, tag="have"):
    """These are here; ask for what you lack."""

    spans: Spans


class Want(Wire, frozen=True, tag="want"):
    """Send these, if they are there."""

    spans: Spans


BroadcastMessage = Publish | Have | Want


def sign_publication(
    signer: Signer, federation: Digest, publication: Publication
) -> SignedPublication:
    """Sign what this node publishes."""
    message = signing_bytes("publication", federation, publication)
    return SignedPublication(publication, signer.sign(message))


def is_signed(signed: SignedPublication, federation: Digest, verifier: Verifier) -> bool:
    """Whether its publisher signed it."""
    message = signing_bytes("publication", federation, signed.publication)
    return verifier.verify(signed.publication.publisher, message, signed.signature)
