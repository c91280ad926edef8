"""Publications on topics, from any member to all: one core, `handle(now_ms, event)`.

A publication is signed by its publisher and numbered without gaps, so that nobody can forge one and everybody notices
what is missing. Where all members are connected with the publisher it sends to each of them and that is all; else each
that hears it first passes it on to a few others. Beside that, what was heard lately is offered by its number (a digest)
to two others twice a second, who ask for what they lack; and a number that is missing is asked for. What can't be had
after ten seconds is told to whoever listens: nothing is lost silently.

`topics` has the names and their wildcards, `messages` what travels, `sources` the counting of one publisher's numbers,
`core` joins them.
"""
