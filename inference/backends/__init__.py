"""Model servers beside this node: LM Studio, llama.cpp, vLLM and the like, and Ollama.

1. `servers.py` says what a server is to the rest: probe, answer, stream, embed.
2. `openai.py` speaks OpenAI's protocol, `ollama.py` Ollama's own (its translation, a pure part, is
   `ollama_form.py`).
3. `wire.py` is HTTP: it turns every way in which a server can misbehave into a typed failure;
   `connections.py` carries the bytes.
4. `stream.py` follows one streamed answer to its end. What callers read as it was written is passed on so,
   checked but not written anew; `passing.py` does it for streams of another form.
5. `router.py` is what callers use: it knows how the servers stand, chooses, tries again, fails over.
"""
