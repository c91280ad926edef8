"""The constants of a federation: fixed by its genesis, some of them changed by its validators later on."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from consensus.blocks import MAX_BLOCK_BYTES, MAX_BLOCK_TXS
from consensus.operations.transactions import MAX_TRANSACTION_BYTES
from gossip.codec import Name, Natural, Wire
from gossip.json_form import Coins

_DAY_MS = 24 * 60 * 60 * 1000

PowerPolicy = Literal["equal", "stake"]

PROTOCOL_VERSION = 1
"""The newest protocol that this program speaks."""

CHANGEABLE = (
    "observer_grant",
    "validator_grant",
    "min_task_reward",
    "min_task_lead_ms",
    "max_task_lead_ms",
    "reveal_ms",
    "min_stake",
    "unbonding_ms",
    "registration_ms",
    "activation_blocks",
    "slash_percent",
    "stake_per_power",
    "power_blocks",
)
"""What validators may change. Not the supply, and nothing that a block is checked by before it is executed."""


class Parameters(Wire, frozen=True):
    """The federation's constants.

    Amounts count the smallest unit. `min_task_lead_ms` and `max_task_lead_ms` bound how far after
    the time of its block a task's deadline may lie; in a group of tasks `reveal_ms` after it is the time
    to reveal results, and again as much the asker's time to compare them. `power` says how votes weigh from four
    validators on: all the same, or one for each `stake_per_power` of what is bound to them, reckoned
    again at every multiple of `power_blocks`; `cap_power` keeps each below a third. Stake stays locked
    for `unbonding_ms` of block time; a registration that leads to no seat ends after
    `registration_ms`; who activates must have a block of the last `activation_blocks`.
    """

    unit: Name = "credit"
    supply: Coins = 1_000_000_000_000
    observer_grant: Coins = 1_000_000
    validator_grant: Coins = 10_000_000
    min_task_reward: Coins = 1
    min_task_lead_ms: Natural = 1_000
    max_task_lead_ms: Natural = 30 * _DAY_MS
    reveal_ms: Natural = 60_000
    min_stake: Coins = 1_000_000
    unbonding_ms: Natural = 7 * _DAY_MS
    registration_ms: Natural = 7 * _DAY_MS
    activation_blocks: Natural = 64
    slash_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    power: PowerPolicy = "equal"
    stake_per_power: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1, extra={"json": "decimal"})] = (
        1_000_000
    )
    cap_power: bool = True
    power_blocks: Annotated[int, msgspec.Meta(ge=1, le=2**31)] = 16
    max_block_txs: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOCK_TXS)] = MAX_BLOCK_TXS
    max_block_bytes: Annotated[int, msgspec.Meta(ge=MAX_TRANSACTION_BYTES, le=MAX_BLOCK_BYTES)] = (
        MAX_BLOCK_BYTES
    )
