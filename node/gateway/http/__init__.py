"""HTTP/1.1 on Trio, as an ASGI server: what every request pays for, so it is made to be cheap.

A general server spends more on a short request than the node's whole answer costs. Here llhttp
(httptools) parses, each connection has two tasks for all its requests, and head and body leave in
one write.

1. `exchange.py`: one request and its answer; ASGI's `receive` and `send`.
2. `connection.py`: one caller's connection, request after request.
3. `listening.py`: all connections, and their end.
4. `upgrades.py`: what asks for another protocol (WebSocket) goes on in Hypercorn.
"""
