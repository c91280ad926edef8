"""Floor 5: the daemon and everything a person touches.

`daemon.py` starts and ends it, `assembly.py` puts the parts together; start reading there. Around each pure core stands
a thin shell that carries out its effects: `driver.py` in general, and one room for each subject:

- `chain/`: consensus, read models, snapshots, what is told to subscribers; `peers/`: membership and the door for bytes
  from others; `work/`: tasks, alone, in groups and spread; `models/`: the model servers of this machine;
- `storage/`: what lies on disk, `home.py` first; `founding.py` says how it begins, `config.py` what its owner chose.

Users come in through `gateway/` (HTTP) and `cli/`, which goes through `client/`. `views/` is what the gateway asks of
a node (`facade.py`) and what callers see; `service.py` answers it. `checkup.py` looks for what is wrong, `bench/`
measures, `demo/` shows the whole thing at work.
"""
