"""What happens, as subscribers over the WebSocket hear of it."""

from __future__ import annotations

import msgspec


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened. `event` is transaction, task, block or cut; what it lacks is None.

    Without a `cursor` it is not final and may still change.
    """

    event: str
    cursor: str | None = None
    status: str | None = None
    tx_hash: str | None = msgspec.field(name="txHash", default=None)
    task_id: str | None = msgspec.field(name="taskId", default=None)
    block_hash: str | None = msgspec.field(name="blockHash", default=None)
    height: int | None = None
    executor: str | None = None
    code: str | None = None
    reason: str | None = None
    timestamp_ms: int | None = None
