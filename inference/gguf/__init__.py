"""A GGUF file without a server beside the node: llama.cpp in a child process.

1. `child.py` is the child: it runs llama.cpp's own server, ends it when nobody has asked for a while, and dies with its
   parent.
2. `process.py` is one such child seen from the daemon.
3. `server.py` offers it as one more model server: started at the first request, asked in OpenAI's protocol.

llama.cpp is `llama-server` if that is on the PATH, or else llama-cpp-python (`pip install 'bizra-node[gguf]'`).
"""
