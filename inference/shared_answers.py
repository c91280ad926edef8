"""Answers that the nodes of one circle share: the cache in the federation (L3 of row I9). Pure.

A circle is a secret that one owner gave to several nodes (`shared_cache` in config.toml). An answer has
a name, a hash of who asked, the model's file and the whole request that is keyed by the secret, and it
is sealed under a key made in the same way. So a node learns nothing by holding an answer, or by being
asked for a name: it can't try requests without the secret, and not open what it holds without the
request, even if it has the secret.

    node that has the answer                    the first nodes by name                another node, the same request
      | signs a receipt, seals, signs the entry       |                                     |
      | -- Keep(entry, sealed) ---------------------> | checks who it is from               |
      |                                               | <------------------- Find(name) --- |
      |                                               | --- Held(entry, sealed) ----------> | checks all of it

Inside stands what a task's content is as well: request, answer, and the receipt of the node whose model
answered. Whoever opens it checks that the entry is signed by a member, that the request is his own,
that the answer has the hash in the receipt, that the receipt is for the model's file that he means, is
signed and is not too old. What does not hold is thrown away, and counts against who signed the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Annotated, Final

import msgspec
import nacl.bindings
import nacl.exceptions

from consensus.operations.transactions import SignedReceipt, content_hash
from gossip.codec import (
    Bytes32,
    Bytes64,
    DecodeError,
    Digest,
    Natural,
    Wire,
    decode_canonical,
    digest,
    encode,
)
from gossip.identity import NodeId, Signer, Verifier, signing_bytes
from inference.cache import CacheKind
from inference.chat import Call, CallKind, JsonObject, check_answer, decode_object
from inference.chat_task import CHAT, ChatInput, ChatOutput, decode_chat_input, without_proof
from inference.failures import Failure
from inference.kinds import BadInput

PROTOCOL: Final = "/bizra/answers/1"
COPIES: Final = 2
"""On how many other nodes an answer is laid down."""
ASKED: Final = 3
"""How many are asked for one: who has just come or gone moves the first of them by one place."""
MAX_SEALED_BYTES: Final = 512 * 1024
NONCE_BYTES: Final = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
SECRET_BYTES: Final = 32
AHEAD_MS: Final = 60_000
"""How far another node's clock may be ahead of this one's."""

_TAG_DIGITS: Final = 16
_NOT_ASKED: Final = (
    "model",
    "stream",
    "stream_options",
    "user",
    "metadata",
    "queue",
    "logprobs",
    "top_logprobs",
)
"""What does not change an answer, or is not shared: log-probabilities are taken out of it."""

_Sealed = Annotated[bytes, msgspec.Meta(max_length=MAX_SEALED_BYTES)]


class Entry(Wire, frozen=True):
    """A sealed answer as its keeper, the node that laid it down, signs for it."""

    chain: Bytes32
    name: Bytes32
    sealed_hash: Bytes32
    made_ms: Natural
    keeper: Bytes32


class SignedEntry(Wire, frozen=True):
    """An entry with its keeper's signature."""

    entry: Entry
    signature: Bytes64


class Find(Wire, frozen=True, tag="find"):
    """Is there an answer of this name? Comes back as `Held` or `NotHeld`."""

    name: Bytes32


class Keep(Wire, frozen=True, tag="keep"):
    """Lay this down, please. Nothing comes back."""

    signed: SignedEntry
    sealed: _Sealed


class Held(Wire, frozen=True, tag="held"):
    """Here it is."""

    signed: SignedEntry
    sealed: _Sealed


class NotHeld(Wire, frozen=True, tag="not_held"):
    """It is not here."""


Question = Find | Keep
Reply = Held | NotHeld


class Shared(Wire, frozen=True):
    """What is sealed: the request, the answer, and the receipt of the node whose model gave it."""

    receipt: SignedReceipt
    given: Annotated[bytes, msgspec.Meta(max_length=MAX_SEALED_BYTES)]
    output: Annotated[bytes, msgspec.Meta(max_length=MAX_SEALED_BYTES)]


class Found(msgspec.Struct, frozen=True):
    """An answer that holds, in the form in which a server gives it, and what speaks for it."""

    answer: JsonObject
    given: ChatInput
    shared: Shared


class Spot(msgspec.Struct, frozen=True):
    """Where the answer to one request lies, and what opens it."""

    name: Digest
    key: bytes


class Forged(Exception):  # noqa: N818  # what it is
    """What came is not what its signer says; the text says why."""


class Circle:
    """What all nodes with one secret know."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == SECRET_BYTES
        self._secret = secret

    def tag(self, node: NodeId) -> str:
        """What this node's record says, so that others of the circle know it; nobody else can tell whose it is."""
        return self._keyed(b"circle", node).hex()[:_TAG_DIGITS]

    def spot(self, tenant: str, file: str, call: Call) -> Spot:
        """The place of an answer."""
        named = [tenant, file, call.kind.value, parameters(call.body)]
        request = msgspec.json.encode(named, order="sorted")
        return Spot(Digest(self._keyed(b"name", request)), self._keyed(b"seal", request))

    def _keyed(self, what: bytes, value: bytes) -> bytes:
        return blake2b(value, digest_size=32, key=self._secret, person=b"bizra-" + what).digest()


def parameters(body: JsonObject) -> JsonObject:
    """What of a request its answer hangs on."""
    return {name: value for name, value in body.items() if name not in _NOT_ASKED}


def may_share(call: Call) -> bool:
    """Whether a request's answer may be shared: its owner lets it leave, and asking again would give the same."""
    is_text = call.kind in (CallKind.CHAT, CallKind.TEXT)
    wants_proof = call.body.get("logprobs")
    is_plain = not call.options and (wants_proof is None or wants_proof is False)
    return call.peers and is_text and is_plain and call.body.get("temperature") == 0


def holders(name: Digest, nodes: Iterable[NodeId]) -> Sequence[NodeId]:
    """The nodes in the order in which they are to have an answer, the same for everybody (rendezvous hashing)."""
    return sorted(nodes, key=lambda node: digest(b"answer-holder", name + node))


def seal(spot: Spot, shared: Shared, nonce: bytes) -> bytes | None:
    """The bytes that are laid down; None if they are too many. `nonce` is fresh randomness."""
    sealed = nonce + nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        encode(shared), spot.name, nonce, spot.key
    )
    return sealed if len(sealed) <= MAX_SEALED_BYTES else None


def unseal(spot: Spot, sealed: bytes) -> Shared:
    """Raises `Forged`."""
    nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            rest, spot.name, nonce, spot.key
        )
        return decode_canonical(plain, Shared)
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as error:
        raise Forged(f"it does not open: {error}") from None


def sign_entry(signer: Signer, entry: Entry) -> SignedEntry:
    """The keeper's word."""
    return SignedEntry(entry, signer.sign(_entry_bytes(entry)))


def check_entry(
    signed: SignedEntry, sealed: bytes, chain: bytes, name: bytes | None, verifier: Verifier
) -> None:
    """Whether an entry is what its keeper signed, and of this name if one was asked for. Raises `Forged`."""
    entry = signed.entry
    if entry.chain != chain:
        raise Forged("it is of another federation")
    if name is not None and entry.name != name:
        raise Forged("it has another name than the one that was asked for")
    if entry.sealed_hash != content_hash(sealed):
        raise Forged("its bytes are not those that were signed for")
    if not verifier.verify(entry.keeper, _entry_bytes(entry), signed.signature):
        raise Forged("it is not signed by its keeper")


def is_current(made_ms: int, now_ms: int) -> bool:
    """Whether the time of what was made then has begun and is not over."""
    return made_ms - AHEAD_MS <= now_ms < made_ms + CacheKind.SHARED.life_ms


def check_shared(shared: Shared, call: Call, file: str, chain: bytes, verifier: Verifier) -> Found:
    """The answer to one's own call, from one that was opened. `call.model` is the name of the file's model here.

    Raises `Forged`.
    """
    receipt = shared.receipt.receipt
    if (receipt.chain, receipt.kind, receipt.model_hash.hex()) != (chain, CHAT, file):
        raise Forged("its receipt is for another federation or another model's file")
    if (receipt.input_hash, receipt.output_hash) != (
        content_hash(shared.given),
        content_hash(shared.output),
    ):
        raise Forged("its receipt is for another request or another answer")
    if not shared.receipt.is_signed(verifier):
        raise Forged("its receipt is not signed by the node that it names")
    try:
        given = decode_chat_input(shared.given)
        asked = given.call()
        output = decode_canonical(shared.output, ChatOutput)
    except (BadInput, DecodeError) as error:
        raise Forged(f"it holds no conversation: {error}") from None
    is_same = (asked.kind, given.file, parameters(asked.body)) == (
        call.kind,
        file,
        parameters(call.body),
    )
    if not is_same:
        raise Forged("it answers another request")
    if len(output.lines) != 1 or not output.is_whole:
        raise Forged("it is not one whole answer")
    try:
        return Found(plain_answer(call, output), given, shared)
    except Failure as failure:
        raise Forged(f"it holds no answer: {failure}") from None


def plain_answer(call: Call, output: ChatOutput) -> JsonObject:
    """A whole answer as its caller gets it, from the one line of it. Raises `Failure`."""
    answer = {**decode_object(output.lines[0].encode()), "model": call.model}
    return without_proof(call, check_answer(call, answer))


def _entry_bytes(entry: Entry) -> bytes:
    return signing_bytes("shared-answer", Digest(entry.chain), entry)
