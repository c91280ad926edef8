"""A node in a process of its own, to be frozen and killed: prints its address, echoes every frame."""

import sys

import trio

from gossip.transport import MEMBER_LIMITS, Frame
from gossip.transport.libp2p import Libp2pTransport


async def main(seed: bytes) -> None:
    transport = Libp2pTransport(seed, ["/ip4/127.0.0.1/tcp/0"], lambda _peer: MEMBER_LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        sys.stdout.write(transport.addresses()[0] + "\n")
        sys.stdout.flush()
        async for event in transport.events:
            if isinstance(event, Frame):
                transport.send(event.peer, event.channel, event.payload)


trio.run(main, bytes.fromhex(sys.argv[1]))
