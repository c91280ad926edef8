"""Who is in the federation, where, and whether it is there.

One pure core. A node describes itself in a signed record (`records`): name, addresses, what it can
do, how busy it is. `core` is where to start reading; it is told the
`events`, says the `messages`, tells the `notices`, and leaves what there is only in a federation to
`federated`, and each question to one module:

- `gate`: is this node a member? The ledger says so, or an invite, or we are just joining.
- `handshake`: the first words on a connection; federations are told apart here.
- `record_exchange`: how records get to everybody; `peer_table` keeps them.
- `detector`: who is there. `probes` ask, `cases` weigh signed `suspicions`, the `rumour_mill` passes
  them on, `missed_deaths` asks for what did not arrive; `lateness` is what nodes say of their own
  slowness; `roster` tells them who there is.
- `outlook`: how each peer looks from here. `upkeep`: what is looked after every second.
- `own_record`: the sequence number that may never go back.
- `dialer`: whom to dial, where and when; `introductions` is by what we were told to join.
- `invites` are strings that let one node in; `used_invites` makes them single use; `applicants`
  wait without one. `candidates` says who should get work.

The way of a newcomer: it has an address or an invite and no genesis. It says `Hello` without a
federation and gets the genesis in a `Welcome`; its shell shows both and starts a core that has
them. That one says `Hello` with its record. With an invite it is a member at once and its issuer
asks the ledger to admit it; without one it waits, and hears `Welcome` again when a member has let
it in. A member then fetches what it lacks of the other's table: all of it, the first time.

What a stranger can cost is bounded everywhere: by `transport.STRANGER_LIMITS`, by the answers and
signature checks that a `Link` has left in each second, and by the sizes of table and lists.
"""

from gossip.membership.core import Membership, Profile, Timing

__all__ = ["Membership", "Profile", "Timing"]
