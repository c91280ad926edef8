"""When to try again (row R2 of the systems): 5 attempts, 1 s doubling to at most 30 s.

Which failures are tried again follows from their class (`inference/failures.py`): 408, 425, 429,
5xx and lost connections are; 400, 404 and the like are not. 409 is, for asking a model changes
nothing at the server. 401 and 403 would be tried once with a fresh key; a key from the
configuration can't be refreshed, so the next server is asked instead.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from inference.failures import Failure, FailureClass

_DELAY: Final = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and after which pauses. `attempts` counts the first one too."""

    attempts: int = 5
    first_pause_ms: int = 1_000
    longest_pause_ms: int = 30_000

    def pause_ms(self, attempts_made: int, retry_after_ms: int | None = None) -> int | None:
        """How long to wait after so many attempts; None when it is time to give up.

        A server that asks to be left alone for longer than the longest pause is taken at its word:
        the caller is told now.
        """
        if attempts_made >= self.attempts:
            return None
        if retry_after_ms is not None and retry_after_ms > self.longest_pause_ms:
            return None
        # 2 ** 32 of any pause is beyond the longest: a large count must not make a large number.
        doubled = self.first_pause_ms << min(max(attempts_made - 1, 0), 32)
        return max(min(doubled, self.longest_pause_ms), retry_after_ms or 0)


def may_ask_again(failure: Failure) -> bool:
    """Whether the same server may be asked the same thing again."""
    return failure.kind in (FailureClass.TRANSIENT, FailureClass.NETWORK)


def parse_retry_after_ms(retry_after_ms: str | None, retry_after: str | None) -> int | None:
    """The headers `retry-after-ms` and `retry-after` in milliseconds.

    A date, or what is no number, counts as not given: a server on this machine has no use for it.
    """
    for text, unit_ms in ((retry_after_ms, 1), (retry_after, 1_000)):
        if text is not None and _DELAY.fullmatch(text.strip()):
            return int(float(text) * unit_ms)
    return None
