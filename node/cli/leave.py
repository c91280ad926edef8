"""`leave`: say good-bye to the others, and end the daemon."""

from __future__ import annotations

import time

import click

from node.cli.session import Session, with_session
from node.client import NotReachableError
from node.errors import NodeError

_WAIT_S = 15.0
_PAUSE_S = 0.1


class StillRunningError(NodeError):
    """The daemon was told to leave and is still there."""


@click.command()
@with_session
def leave(session: Session) -> None:
    """Say good-bye to the other nodes, and end the daemon of this home.

    The others know at once that this node has left, and wait for nothing. Its account, its membership and its seat stay
    on the ledger: `bizra-node run` brings it back.
    """
    with session.client() as client:
        client.leave()
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        try:
            session.client().close()
        except NotReachableError:
            session.tell({"left": True}, "The node has left; bizra-node run brings it back.")
            return
        time.sleep(_PAUSE_S)
    raise StillRunningError(
        f"the daemon was told to leave and still runs after {_WAIT_S:g} s; see {session.home.log}"
    )
