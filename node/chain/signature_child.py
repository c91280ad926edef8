"""The child process that checks signatures: this file, started by its path.

It reads frames from stdin, four bytes of length and then `(key, message, signature)` again and again, and answers each
on stdout with four bytes: the index of the first signature that doesn't hold, or how many there are. It ends with the
pipe.

It starts in a fifth of the time that the codec alone takes to load, so frames are as `marshal` spells them: both ends
are one program, and nobody else writes to the pipe.
"""

from __future__ import annotations

import marshal
import sys

from gossip.ed25519 import is_signed

LENGTH_BYTES = 4

Claims = tuple[tuple[bytes, bytes, bytes], ...]
"""Key, message and signature of each."""


def first_false(claims: Claims) -> int:
    """The index of the first signature that doesn't hold, or how many there are."""
    for index, claim in enumerate(claims):
        if not is_signed(*claim):
            return index
    return len(claims)


def framed(claims: Claims) -> bytes:
    """What the child is sent."""
    body = marshal.dumps(claims)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def main() -> None:
    """Serve until stdin ends."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while length := asked.read(LENGTH_BYTES):
        body = asked.read(int.from_bytes(length, "big"))
        claims: Claims = marshal.loads(body)  # noqa: S302 - of the parent
        answers.write(first_false(claims).to_bytes(LENGTH_BYTES, "big"))
        answers.flush()


if __name__ == "__main__":
    main()
