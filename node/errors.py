"""What went wrong around the node, said so that its owner knows what to do next."""

from __future__ import annotations


class NodeError(Exception):
    """The environment failed the node: the text names the file or address and the next step.

    The command line prints it and ends with exit code 1.
    """
