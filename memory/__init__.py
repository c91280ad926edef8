"""Floor 3: documents, embeddings and search - what a node keeps and finds again.

From a file to vectors, in reading order:

1. `memory/documents.py` turns a file or folder into `Document`s (`memory/messages.py`: a name and
   a text), and says in a sentence what it left out and why. `memory/formats.py` reads plain text,
   HTML and PDF.
2. `memory/chunking.py` cuts a text into sentences and into overlapping passages, each with its
   place in the text.
3. `memory/embedding.py` turns pieces of text into vectors with all-MiniLM-L6-v2. The model's
   identity stands in `memory/model_files.py`, its network in `memory/minilm_graph.py`.

Nothing is imported here: the embedding model brings onnxruntime with it, and a daemon that only
names its model (`memory.model_files.MODEL_HASH`) or reads a document must stay small. Import the
module you need.
"""
