"""Checking a receipt the way an outsider would: the program, two files, no daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from msgspec import structs

from consensus.receipts import TransactionReceipt, read_receipt, write_receipt
from node.demo.cluster import DemoError
from node.views.records import JsonObject


def check_offline(receipt: Path, genesis: Path) -> JsonObject:
    """What `bizra-node verify --json` says of a receipt."""
    command = [sys.executable, "-m", "node.cli", "--json", "verify", str(receipt)]
    done = subprocess.run(
        [*command, "--genesis", str(genesis)], capture_output=True, check=False, timeout=30
    )
    try:
        verdict: JsonObject = json.loads(done.stdout)
    except ValueError:
        raise DemoError(f"verify ended without a verdict: {done.stderr.decode()}") from None
    return verdict


def with_another_output(receipt: Path) -> Path:
    """A careful forgery: one byte of the answer is another one, and the file's checksum fits it."""
    proof = read_receipt(receipt.read_bytes())
    assert isinstance(proof, TransactionReceipt)
    assert proof.content is not None
    assert proof.content.output is not None
    output = bytearray(proof.content.output)
    output[-1] ^= 1
    content = structs.replace(proof.content, output=bytes(output))
    forged = receipt.with_name("receipt-forged.json")
    forged.write_text(write_receipt(structs.replace(proof, content=content)))
    return forged


def with_one_byte_changed(receipt: Path) -> Path:
    """A copy in which one hex digit in the middle of the file is another one."""
    text = receipt.read_text()
    at = next(at for at in range(len(text) // 2, len(text)) if text[at : at + 8].isalnum())
    changed = receipt.with_name("receipt-changed.json")
    changed.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
    return changed
