"""The one way in for users: HTTP with JSON, on loopback unless told otherwise.

`views` are the shapes that callers see, `facade` is what the gateway asks of the node, `http/` the
server that carries all of it.
"""
