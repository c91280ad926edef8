"""A typed client of a node's HTTP interface, for the command line and for scripts.

It finds the daemon by the file `api.json` of its home and shows the owner's token where one is
needed. Ids may be given by their first digits where that is unambiguous.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from node.client.answers import Answer, NotReachableError, StillWaitingError
from node.client.carrying import held
from node.client.questions import chain, house, lists, proofs, work
from node.client.questions.chain import FINAL_TRANSACTION
from node.client.questions.work import FINAL_TASK
from node.client.streams import StreamCalls
from node.storage.home import Home
from node.views.records import GroupView, SpreadView, TaskView, TransactionView

if TYPE_CHECKING:
    from consensus.genesis import Genesis
    from consensus.verify import Trust
    from node.client.audit.audits import Audit
    from node.client.audit.copy import Progress
    from node.client.programs import AsyncClient

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


class Client(StreamCalls):
    """One node's interface. Every method raises `NotReachableError` and `RefusedError`."""

    @classmethod
    def of_home(cls, home: Home) -> Self:
        """The client of the daemon that runs in a home."""
        where = home.read_api()
        if where is None or not _is_alive(where.pid):
            raise NotReachableError(
                f"no daemon is running in the home {home.path}; "
                f"start it with: bizra-node run --home {home.path}"
            )
        return cls(where.url, home.read_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> AsyncClient:
        from node.client.programs import AsyncClient  # noqa: PLC0415 - not for the command line

        self.close()
        self._twin = AsyncClient(self.url, self._read_token)
        return self._twin

    async def __aexit__(self, *_: object) -> None:
        await self._twin.close()

    # The node itself

    not_ready = held(house.not_ready)
    status = held(house.status)
    peers = held(house.peers)
    leave = held(house.leave)
    tokens = held(house.tokens)
    create_token = held(house.create_token)
    revoke_token = held(house.revoke_token)
    models = held(house.models)
    backends = held(house.backends)
    add_backend = held(house.add_backend)
    remove_backend = held(house.remove_backend)
    caches = held(house.caches)
    clear_caches = held(house.clear_caches)
    contents = held(house.contents)
    remove_content = held(house.remove_content)
    snapshots = held(house.snapshots)
    publish = held(house.publish)

    # The ledger

    account = held(chain.account)
    block = held(chain.block)
    blocks = held(chain.blocks)
    transaction = held(chain.transaction)
    receipt = held(chain.receipt)
    submit = held(chain.submit)
    submit_many = held(chain.submit_many)
    transfer = held(chain.transfer)
    validators = held(chain.validators)
    registry = held(chain.registry)
    register_validator = held(chain.register_validator)
    validator_deed = held(chain.validator_deed)
    parameters = held(chain.parameters)
    approve_parameter = held(chain.approve_parameter)
    invite = held(chain.invite)
    admit = held(chain.admit)
    expel = held(chain.expel)

    # Read models

    accounts = held(lists.accounts)
    transactions = held(lists.transactions)
    active_validators = held(lists.active_validators)
    ledger_tasks = held(lists.ledger_tasks)
    leaderboard = held(lists.leaderboard)
    reputations = held(lists.reputations)
    reputation = held(lists.reputation)
    fairness = held(lists.fairness)
    event_log = held(lists.event_log)
    projections = held(lists.projections)
    rebuild_projection = held(lists.rebuild_projection)

    # Work

    task = held(work.task)
    tasks = held(work.tasks)
    submit_task = held(work.submit_task)
    cancel_task = held(work.cancel_task)
    offer_kinds = held(work.offer_kinds)
    submit_group = held(work.submit_group)
    group = held(work.group)
    submit_spread = held(work.submit_spread)
    spread = held(work.spread)
    spreads = held(work.spreads)
    drop_spread = held(work.drop_spread)
    queue = held(work.queue)
    queued = held(work.queued)
    withdraw = held(work.withdraw)
    decide = held(work.decide)
    trust = held(work.trust)
    check_peer = held(work.check_peer)
    forgive = held(work.forgive)

    # Checked against the genesis; each raises `NotProvenError` if the answer doesn't hold

    proven_account = held(proofs.proven_account)
    proven_transaction = held(proofs.proven_transaction)
    proven_block = held(proofs.proven_block)
    proven_record = held(proofs.proven_record)
    proven_accounts = held(proofs.proven_accounts)
    proven_tasks = held(proofs.proven_tasks)
    proven_reputations = held(proofs.proven_reputations)
    proven_transactions = held(proofs.proven_transactions)
    proven_blocks = held(proofs.proven_blocks)
    proven_validators = held(proofs.proven_validators)

    def audit(
        self,
        directory: Path,
        genesis: Genesis,
        trust: Trust | None = None,
        progress: Progress | None = None,
    ) -> Audit:
        """Follow the whole chain from the genesis, in a copy of one's own, and hold the node's lists against it."""
        # The command line starts faster without what executes blocks.
        from node.client.audit.audits import Audit  # noqa: PLC0415
        from node.client.audit.copy import Opening  # noqa: PLC0415

        return Audit(self.hold, Opening(directory, genesis, trust, progress))

    # Waiting; raises `StillWaitingError`

    def await_transaction(self, tx_hash: str, timeout_s: float) -> TransactionView:
        """Ask until a transaction has come to its end."""
        return _poll(
            lambda: self.transaction(tx_hash),
            lambda view: view.status in FINAL_TRANSACTION,
            timeout_s,
            f"the transaction is not final after {timeout_s:g} s; "
            f"look again with: bizra-node tx show {tx_hash}",
        )

    def await_task(self, task_id: str, timeout_s: float) -> TaskView:
        """Ask until a task has come to its end, or the one that took its place."""
        return _poll(
            lambda: self.hold(work.newest(task_id)),
            lambda view: view.status in FINAL_TASK,
            timeout_s,
            f"the task has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task show {task_id}",
        )

    def await_spread(self, name: str, timeout_s: float) -> SpreadView:
        """Ask until work over many peers has come to its end."""
        return _poll(
            lambda: self.spread(name),
            lambda view: view.status != "running",
            timeout_s,
            f"the work has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node spread show {name}",
        )

    def await_group(self, group_id: str, timeout_s: float) -> GroupView:
        """Ask until a group of tasks has its verdict and its outputs are here."""
        return _poll(
            lambda: self.group(group_id),
            lambda view: all(one.status in FINAL_TASK for one in view.tasks),
            timeout_s,
            f"the group has not ended after {timeout_s:g} s; "
            f"look again with: bizra-node task group {group_id}",
        )


def _poll(
    ask: Callable[[], Answer], ended: Callable[[Answer], bool], timeout_s: float, late: str
) -> Answer:
    """Ask until it has ended. Raises `StillWaitingError` with the sentence `late`."""
    deadline, pause_s = time.monotonic() + timeout_s, _FIRST_PAUSE_S
    while True:
        answer = ask()
        if ended(answer):
            return answer
        if time.monotonic() + pause_s > deadline:
            raise StillWaitingError(late)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
