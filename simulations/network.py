"""What becomes of a message on its way: its delays, or nothing."""

from __future__ import annotations

from simulations.draws import MILLION
from simulations.setting import Network, Partition, Setting


class Wires:
    """All links of one world."""

    def __init__(self, setting: Setting) -> None:
        self._network: Network = setting.network
        self._heal_us = setting.heal_ms * 1000
        self._partitions = tuple(
            (fault.at_ms * 1000, fault.until_ms * 1000, frozenset(fault.side), fault.direction)
            for fault in setting.faults
            if isinstance(fault, Partition)
        )

    def is_partitioned(self, now_us: int) -> bool:
        """Whether a partition stands."""
        return any(begin <= now_us < end for begin, end, _, _ in self._partitions)

    def is_cut(self, now_us: int, source: int, target: int) -> bool:
        """Whether a partition stands between the two, in this direction."""
        for begin, end, side, direction in self._partitions:
            if begin <= now_us < end and (source in side) is not (target in side):
                leaves = source in side
                if direction == "both" or (direction == "out") is leaves:
                    return True
        return False

    def deliveries(self, now_us: int, source: int, target: int, luck: bytes) -> list[int]:
        """How many microseconds each copy takes; none if it is lost. `luck` is 16 bytes drawn for the message."""
        network = self._network
        jitter = int.from_bytes(luck[:4], "big")
        if now_us >= self._heal_us:
            return [network.latency_us + jitter * (network.jitter_us // 2 + 1) // 2**32]
        if self._partitions and self.is_cut(now_us, source, target):
            return []
        if int.from_bytes(luck[4:8], "big") % MILLION < network.loss_ppm:
            return []
        delay = network.latency_us + jitter * (network.jitter_us + 1) // 2**32
        if network.tail_ppm and int.from_bytes(luck[8:12], "big") % MILLION < network.tail_ppm:
            delay += int.from_bytes(luck[9:13], "big") % (network.tail_us + 1)
        if network.duplicate_ppm:
            again = int.from_bytes(luck[12:16], "big")
            if again % MILLION < network.duplicate_ppm:
                return [delay, delay + again % (2 * network.jitter_us + network.tail_us + 1)]
        return [delay]
