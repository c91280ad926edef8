"""What is refused before it reaches a door, in that door's form: OpenAI's, Ollama's, or problem+json."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from node.gateway.openai_form import OpenAiError
from node.gateway.problems import problem_response
from node.views.facade import Problem

_OLLAMA = ("/api/chat", "/api/generate", "/api/embed", "/api/tags")


def refusal(path: str, problem: Problem) -> Response:
    """The answer that clients of this path understand."""
    told = problem_response(problem)
    if path.startswith("/v1/"):
        told.body = msgspec.json.encode(
            OpenAiError(problem.status, problem.code, problem.detail).body()
        )
    elif path in _OLLAMA:
        told.body = msgspec.json.encode({"error": problem.detail})
    else:
        return told
    told.headers["content-type"] = "application/json"
    told.headers["content-length"] = str(len(told.body))
    return told
