"""Floor 1: who the others are, and how bytes get to them.

What every floor above needs stands here: `codec` (the one encoding), `identity` (keys and
signatures), `effects` (what a pure core asks its shell for) and `json_form` (the readable twin).

**Membership**, who is in the federation and whether it is there, is one pure core; see
`gossip.membership`.

**Discovery** hears of nodes on the local network by mDNS; `gossip.sightings` decides what a node
without a federation does then.

**Broadcast** brings events from any member to all, **transfer** contents of any size between members;
see `gossip.broadcast` and `gossip.transfer`.

**Transport** carries frames between nodes whose identity is proven; see `gossip.transport`.
"""
