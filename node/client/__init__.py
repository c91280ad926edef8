"""A node from outside: one typed client for scripts and the command line, one for programs under Trio or asyncio.

    with Client.of_home(Home(path)) as client:
        print(client.status().height)

    async with Client.of_home(Home(path)) as client:  # under Trio or asyncio
        print((await client.status()).height)

What can be asked is written once, in `questions/`, as conversations (`conversations.py`): generators that yield
requests and are sent the replies. `scripts.py` holds them in its thread (`carrying.py`), `programs.py` under an event
loop. What does not end with one answer is each one's own: `streams.py` and, over the WebSocket, `event_stream.py`.

Of the node nothing need be believed: `proven.py` checks single records against the genesis, `proven_lists.py` asks for
them, and `audit/` follows the whole chain in a copy.
"""

from node.client.answers import NotReachableError, RefusedError, StillWaitingError
from node.client.questions.chain import FINAL_TRANSACTION
from node.client.questions.work import FINAL_TASK
from node.client.scripts import Client

__all__ = [
    "FINAL_TASK",
    "FINAL_TRANSACTION",
    "Client",
    "NotReachableError",
    "RefusedError",
    "StillWaitingError",
]
