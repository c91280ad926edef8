"""The walls of this machine, measured in the same run as what is held against them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from gossip.identity import Ed25519Signer, Ed25519Verifier

_VERIFICATIONS = 2_000
_SYNCS = 200
_BLOCK_BYTES = 4_096


def verifications_per_cpu_second() -> float:
    """How many Ed25519 signatures one core checks in a second."""
    signer, verifier = Ed25519Signer(bytes(32)), Ed25519Verifier()
    message = bytes(180)
    signature = signer.sign(message)
    began = time.process_time()
    for _ in range(_VERIFICATIONS):
        assert verifier.verify(signer.public, message, signature)
    return _VERIFICATIONS / (time.process_time() - began)


def fdatasync_p50_ms(folder: Path) -> float:
    """The median time of writing 4 KiB to a file and `fdatasync`, on the disk of `folder`."""
    taken = []
    path = folder / "sync-probe"
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(bytes(_BLOCK_BYTES))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    path.unlink()
    return 1000 * median(taken)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its children so far, in seconds; 0 for one that has ended."""
    try:
        own = time.clock_gettime(_cpu_clock(pid))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        tasks = [one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return 0.0
    ended = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    return own + ended + sum(cpu_seconds(int(child)) for line in tasks for child in line.split())


def _cpu_clock(pid: int) -> int:
    """Linux's name for the clock that counts a process's CPU time, in nanoseconds: `stat` counts in hundredths."""
    return (~pid << 3) | 2


def resident_mib(pid: int, of: str = "VmRSS") -> float:
    """The memory of a process that is in RAM, in MiB; `RssAnon` leaves out what is mapped from files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{of}:"):
            return int(line.split()[1]) / 1024
    return 0.0
