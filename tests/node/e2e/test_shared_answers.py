"""Answers shared by a circle of real nodes: laid down, found, checked, and what becomes of who forges one."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import httpx2
import msgspec
import pytest

from consensus.operations.transactions import SignedReceipt, content_hash
from gossip.codec import decode, encode
from gossip.identity import Ed25519Verifier, NodeId
from gossip.json_form import from_json
from inference.chat import Call, CallKind, JsonObject
from inference.shared_answers import NONCE_BYTES, Circle, Held, Shared, seal, sign_entry, unseal
from node.founding import load_keys
from node.storage.store import LevelStore
from node.views.records import CacheView
from tests.node.e2e.chat_town import COUNT, PAUSE_MS, OwnMakers, post
from tests.node.e2e.daemons import Daemon, Fleet, await_peace, until
from tests.node.e2e.model_servers import table

pytestmark = pytest.mark.timeout(180)

SECRET, OTHER_SECRET = "5e" * 32, "07" * 32
CIRCLE = Circle(bytes.fromhex(SECRET))


class Village:
    """Three validators of one circle; the second one has a model, the others ask for it."""

    def __init__(self, fleet: Fleet, makers: OwnMakers) -> None:
        self.makers, self.server = makers, makers.server()
        told = f'shared_cache = "{SECRET}"\n'
        named = f'files = {{ "tiny" = "{makers.true_file()}" }}\n'
        settings = {0: told, 1: told + table(self.server) + named, 2: told}
        self.nodes = fleet.federation(3, {0: (), 1: ("chat",), 2: ()}, settings)
        self.file = sha256(makers.true_file().read_bytes()).hexdigest()
        self.await_circle()

    def await_circle(self) -> None:
        """Wait until each of them knows the others' marks and the model."""
        for one in self.nodes:
            until(lambda one=one: self._sees(one), f"{one.name} to see the circle")  # type: ignore[misc]

    def _sees(self, one: Daemon) -> bool:
        seen = {peer.node_id: set(peer.capabilities) for peer in one.client.peers().peers}
        marks = {node.id: f"cache.{CIRCLE.tag(_node(node))}" for node in self.nodes}
        others = [node.id for node in self.nodes if node is not one]
        has_model = one is self.nodes[1] or "models.tiny" in seen[self.nodes[1].id]
        return has_model and all(marks[name] in seen.get(name, ()) for name in others)


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    made = OwnMakers(tmp_path_factory.mktemp("models"))
    fleet = Fleet(tmp_path_factory.mktemp("village"))
    try:
        yield Village(fleet, made)
    finally:
        fleet.stop()
        made.stop()


def _node(one: Daemon) -> NodeId:
    return NodeId(bytes.fromhex(one.id))


def body(text: str, model: str = "tiny") -> JsonObject:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": COUNT, "temperature": 0}


def ask(node: Daemon, text: str, *, model: str = "tiny", key: str = "k") -> httpx2.Response:
    answer = post(node, body(text, model), x_bizra_peers="1", authorization=f"Bearer {key}")
    assert answer.status_code == 200, answer.text
    return answer


def shared_row(node: Daemon) -> CacheView:
    return next(one for one in node.client.caches().caches if one.level == "L3")


def await_copy(node: Daemon, before: int) -> None:
    until(lambda: shared_row(node).entries > before, f"an answer to be laid down at {node.name}")


def receipt_of(answer: JsonObject) -> SignedReceipt:
    return from_json(msgspec.json.encode(answer["bizra_receipt"]), SignedReceipt)


def words_of(answer: httpx2.Response) -> list[str]:
    said: str = answer.json()["choices"][0]["message"]["content"]
    return said.split()


def test_what_one_node_worked_out_another_one_has_from_the_circle(village: Village) -> None:
    first, maker, _ = village.nodes
    before, laid = village.server.asked(), shared_row(first).entries
    made = ask(maker, "shared")
    assert made.headers["x-cache"] == "MISS"
    await_copy(first, laid)
    first.client.clear_caches()
    found = ask(first, "shared")
    assert found.headers["x-cache"] == "L3"
    assert words_of(found) == words_of(made) == village.makers.words
    signed = receipt_of(found.json())
    assert signed.is_signed(Ed25519Verifier())
    assert (signed.receipt.executor.hex(), signed.receipt.model_hash.hex()) == (
        maker.id,
        village.file,
    )
    assert signed.receipt.usage.duration_ms >= COUNT * PAUSE_MS
    assert ask(first, "shared").headers["x-cache"] == "L2"
    row = shared_row(first)
    assert (row.kind, row.life_s, row.hits) == ("shared-answers", 30 * 24 * 60 * 60, 1)
    assert village.server.asked() == before + 1


def test_an_answer_that_was_paid_for_comes_with_the_receipt_on_the_ledger(village: Village) -> None:
    first, maker, third = village.nodes
    laid = shared_row(third).entries
    paid = ask(first, "paid").json()
    await_copy(third, laid)
    third.client.clear_caches()
    answer = ask(third, "paid")
    assert answer.headers["x-cache"] == "L3"
    found = answer.json()
    assert found["bizra_task"] == paid["bizra_task"]
    view = first.client.await_task(paid["bizra_task"], 30)
    signed = receipt_of(found)
    assert (view.status, view.executor) == ("settled", maker.id)
    assert signed.is_signed(Ed25519Verifier())
    assert signed.receipt.task.hex() == paid["bizra_task"]
    assert "logprobs" not in found["choices"][0]


def test_another_tenant_and_who_lets_nothing_leave_find_nothing(village: Village) -> None:
    first, maker, _ = village.nodes
    laid = shared_row(first).entries
    assert ask(maker, "mine").headers["x-cache"] == "MISS"
    await_copy(first, laid)
    assert ask(first, "mine", key="another").headers["x-cache"] == "MISS"
    private = post(maker, body("private"), authorization="Bearer k")
    assert private.headers["x-cache"] == "MISS"
    assert ask(first, "private").headers["x-cache"] == "MISS"


def test_who_has_another_secret_finds_nothing(village: Village) -> None:
    _, maker, third = village.nodes
    assert ask(maker, "secret").headers["x-cache"] == "MISS"
    third.end()
    third.configure(f'shared_cache = "{OTHER_SECRET}"\n')
    third.start()
    await_peace(village.nodes)
    until(lambda: "models.tiny" in _offered(third, maker), "the model to be offered")
    assert ask(third, "secret").headers["x-cache"] == "MISS"
    third.end()
    third.configure(f'shared_cache = "{SECRET}"\n')
    third.start()
    await_peace(village.nodes)
    village.await_circle()


def _offered(one: Daemon, other: Daemon) -> tuple[str, ...]:
    peers = one.client.peers().peers
    return next((tuple(peer.capabilities) for peer in peers if peer.node_id == other.id), ())


def test_with_every_model_gone_the_circle_still_has_its_answers(village: Village) -> None:
    first, maker, _ = village.nodes
    laid = shared_row(first).entries
    made = ask(maker, "gone")
    await_copy(first, laid)
    first.client.clear_caches()
    village.server.kill()
    until(
        lambda: "models.tiny" not in _offered(first, maker), "the model to be offered no more", 60
    )
    found = ask(first, "gone", model=f"tiny@{village.file}")
    assert (found.headers["x-cache"], words_of(found)) == ("L3", words_of(made))
    village.server.start()
    until(lambda: "models.tiny" in _offered(first, maker), "the model to be offered again", 60)


def test_a_forged_answer_is_refused_and_counts_once_against_who_shared_it(village: Village) -> None:
    first, maker, third = village.nodes
    laid = shared_row(first).entries, shared_row(third).entries
    assert ask(maker, "forged").headers["x-cache"] == "MISS"
    await_copy(first, laid[0])
    await_copy(third, laid[1])
    maker.end()
    forge(maker, village.file, "forged")
    maker.start()
    await_peace(village.nodes)
    village.await_circle()
    for one in (first, third):
        one.client.clear_caches()
    for _ in range(2):
        held = shared_row(third).entries
        answer = ask(first, "forged")
        assert answer.headers["x-cache"] == "MISS"
        assert words_of(answer) == village.makers.words
        await_copy(third, held)
        first.client.clear_caches()
        third.client.clear_caches()
    (row,) = first.client.trust().peers
    assert (row.node_id, row.mismatches) == (maker.id, 1)
    assert "forged" in (row.reason or "")


def forge(maker: Daemon, file: str, text: str) -> None:
    """Put another answer under the receipt that the node signed; sealed and signed as one of its own."""
    tenant = sha256(b"Bearer k").hexdigest()
    spot = CIRCLE.spot(tenant, file, Call(CallKind.CHAT, "tiny", body(text), peers=True))
    signer = load_keys(maker.home).identity
    with LevelStore(maker.home.shared) as disk:
        raw = disk.get(b"v" + spot.name)
        assert raw is not None
        held = decode(raw, Held)
        true = unseal(spot, held.sealed)
        lie = true.output.replace(b"word0", b"words")
        assert lie != true.output
        sealed = seal(spot, Shared(true.receipt, true.given, lie), bytes(NONCE_BYTES))
        assert sealed is not None
        entry = msgspec.structs.replace(held.signed.entry, sealed_hash=content_hash(sealed))
        disk.write([(b"v" + spot.name, encode(Held(sign_entry(signer, entry), sealed)))])
