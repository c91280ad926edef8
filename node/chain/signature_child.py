"""The child process that checks signatures: `python -m node.chain.signature_child`.

It reads frames from stdin, four bytes of length and then `(key, message, signature)` again and again, and answers each
on stdout with four bytes: the index of the first signature that doesn't hold, or how many there are. It ends with the
pipe.
"""

from __future__ import annotations

import signal
import sys

from gossip.codec import decode
from gossip.identity import Ed25519Verifier, Verifier

LENGTH_BYTES = 4

Claims = tuple[tuple[bytes, bytes, bytes], ...]
"""Key, message and signature of each."""


def first_false(claims: Claims, verifier: Verifier) -> int:
    """The index of the first signature that doesn't hold, or how many there are."""
    for index, claim in enumerate(claims):
        if not verifier.verify(*claim):
            return index
    return len(claims)


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal tells the whole group; the daemon decides
    verifier = Ed25519Verifier()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while length := asked.read(LENGTH_BYTES):
        claims = decode(asked.read(int.from_bytes(length, "big")), Claims)
        answers.write(first_false(claims, verifier).to_bytes(LENGTH_BYTES, "big"))
        answers.flush()


if __name__ == "__main__":
    main()
