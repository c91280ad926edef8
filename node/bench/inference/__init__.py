"""What the inference door costs: `bizra-node bench inference`.

1. `model_server.py` is a tiny model server in a process of its own: answers prepared beforehand, so
   that what is measured is the door and not the model.
2. `callers.py` asks it, directly or through a door, from many connections at once.
3. `doors.py` starts what stands between: a node, LiteLLM in an environment of its own, or a bare relay
   (`relay.py`), for what a turn of Trio's loop for each chunk costs.
4. `measuring.py` puts them together.
5. `model_speed.py` measures the embedded model, `under_load.py` consensus beside it.
"""
