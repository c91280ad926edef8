"""Floor 5: the daemon and everything a person touches.

`daemon.py` puts the parts together; start reading there. Around each pure core stands a thin shell that carries out
its effects: `driver.py` in general, `chain_service.py` for consensus, `peer_service.py` for membership,
`task_service.py` for tasks. `service.py` is the running node as the gateway sees it.

What lies on disk: `home.py` says where, `founding.py` how it begins, `keyfile.py`, `config.py` and `store.py` what is
in it. Users come in through `gateway/` (HTTP; `facade.py` is all it asks of a node, `views.py` all that callers see)
and `cli/`, which goes through `client.py`. `queries.py` answers from the chain, `checkup.py` looks for what is wrong,
`demo/` shows the whole thing at work.
"""
