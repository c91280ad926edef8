"""What went wrong around the node, said so that its owner knows what to do next."""

from __future__ import annotations


class NodeError(Exception):
    """The environment failed the node: the text names the file or address and the next step.

    `code` is a word for programs, `exit_code` what the command line ends with.
    """

    code: str = "failed"
    exit_code: int = 1
