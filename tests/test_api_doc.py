"""The test vector of docs/API.md is true, and another MessagePack library reads it the same way."""

import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

import msgpack
from nacl.signing import SigningKey

from consensus.operations.transactions import (
    Operation,
    TransactionBody,
    Transfer,
    decode_transaction,
    sign_transaction,
)
from gossip.codec import Digest, decode_canonical, encode
from gossip.identity import Ed25519Signer, Ed25519Verifier
from node.gateway.list_routes import event_endpoints, list_endpoints
from node.gateway.model_routes import ollama_endpoints, openai_endpoints
from node.gateway.openapi import problems_of
from node.gateway.routes import (
    bulk_endpoints,
    core_endpoints,
)

DOC = Path(__file__).parent.parent / "docs" / "API.md"


def vector() -> dict[str, Any]:
    block = re.search(r"```json\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert block is not None
    found: dict[str, Any] = json.loads(block[1])
    return found


def operations() -> dict[str, dict[str, Any]]:
    """The published operations: fields with byte strings in hex after "0x", and the encoding."""
    blocks = re.findall(r"```json\n(.*?)```", DOC.read_text(), re.DOTALL)
    found: dict[str, dict[str, Any]] = json.loads(blocks[1])
    return found


def _readable(value: object) -> object:
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    return [_readable(one) for one in value] if isinstance(value, list) else value


def test_every_operation_has_a_vector_that_two_libraries_read_alike() -> None:
    published = operations()
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(Operation)}
    assert set(published) == set(kinds)
    for tag, given in published.items():
        raw = bytes.fromhex(given["encoded"])
        assert _readable(msgpack.unpackb(raw)) == [tag, *given["fields"]]
        assert encode(decode_canonical(raw, kinds[tag])) == raw


def test_our_own_signer_makes_the_published_transaction() -> None:
    given = vector()
    signer = Ed25519Signer(bytes.fromhex(given["seed"]))
    chain = Digest(bytes.fromhex(given["chain"]))
    transfer = Transfer(bytes.fromhex(given["to"]), int(given["amount"]))
    body = TransactionBody(
        chain, signer.public, given["nonce"], given["expiry_height"], (transfer,)
    )
    made = sign_transaction(signer, body)
    assert made.raw.hex() == given["raw"]
    assert made.id.hex() == given["txHash"]
    assert decode_transaction(bytes.fromhex(given["raw"])).is_signed(Ed25519Verifier())


def test_the_published_bytes_follow_from_the_words_of_the_document_alone() -> None:
    given = vector()
    chain, sender, to = (bytes.fromhex(given[key]) for key in ("chain", "from", "to"))
    body = [
        chain,
        sender,
        given["nonce"],
        given["expiry_height"],
        [["transfer", to, int(given["amount"])]],
    ]
    signed = msgpack.packb(["bizra/1", "transaction", chain, [body]], use_bin_type=True)
    assert signed.hex() == given["signed_bytes"]
    signature = SigningKey(bytes.fromhex(given["seed"])).sign(signed).signature
    assert signature.hex() == given["signature"]
    raw = msgpack.packb([body, signature], use_bin_type=True)
    assert raw.hex() == given["raw"]
    assert blake2b(raw, digest_size=32, person=b"transaction").hexdigest() == given["txHash"]


class _Anything:
    """Stands where handlers are: only what is said of them is looked at."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any handler
        return None


def test_every_error_code_of_the_description_is_listed() -> None:
    nothing: Any = _Anything()
    endpoints = [
        *bulk_endpoints(nothing),
        *event_endpoints(nothing),
        *list_endpoints(nothing),
        *core_endpoints(nothing, nothing),
    ]
    codes = {code for endpoint in endpoints for _, code in problems_of(endpoint)}
    text = DOC.read_text()
    assert {code for code in codes if f"`{code}`" not in text} == set()


def test_every_path_of_the_description_is_listed() -> None:
    nothing: Any = _Anything()
    text = DOC.read_text()
    for endpoint in [*list_endpoints(nothing), *core_endpoints(nothing, nothing)]:
        place = endpoint.path.partition("{")[0].rstrip("/").removeprefix("/api/v2")
        assert place in text, endpoint.path


def test_every_error_code_of_the_doors_for_models_is_listed() -> None:
    nothing: Any = _Anything()
    handlers = dict.fromkeys(
        ("chat", "completion", "response", "embed", "models", "model"), nothing
    )
    ollama = dict.fromkeys(("chat", "generate", "embed", "tags"), nothing)
    endpoints = [*openai_endpoints(**handlers), *ollama_endpoints(**ollama)]
    codes = {code for endpoint in endpoints for _, code in problems_of(endpoint)}
    text = (DOC.parent / "CLIENTS.md").read_text()
    assert {code for code in codes if f"`{code}`" not in text} == set()
