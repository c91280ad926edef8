"""The doors for models as the description of the interface has them; their errors are in the forms of their clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from node.gateway.endpoint import Endpoint, Handler, Param
from node.gateway.ollama_form import (
    OllamaChatRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
)
from node.gateway.openai_form import ChatRequest, CompletionRequest, EmbeddingsRequest
from node.gateway.responses_form import ResponsesRequest
from node.views.records import JsonObject, View


class OpenAiErrorView(View, frozen=True):
    """What is wrong; `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorsView(View, frozen=True):
    """An error as OpenAI's clients know it."""

    error: OpenAiErrorView


class OllamaErrorView(View, frozen=True):
    """An error as Ollama's clients know it."""

    error: str


_ASKING = (
    (400, "invalid_json"),
    (400, "invalid_value"),
    (400, "invalid_request"),
    (400, "context_length_exceeded"),
    (400, "backend_unsupported"),
    (404, "model_not_found"),
    (408, "body_timeout"),
    (413, "body_too_large"),
    (422, "invalid_value"),
    (429, "too_many_at_once"),
    (429, "backend_overloaded"),
    (502, "backend_out_of_form"),
    (502, "backend_lost"),
    (502, "backend_unreachable"),
    (502, "backend_garbled"),
    (502, "backend_wrong_model"),
    (502, "backend_refused_key"),
    (503, "model_unavailable"),
    (504, "backend_timeout"),
)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a door's clients understand."""

    errors: Any
    stream: str
    """How an answer comes that is streamed."""
    problems: tuple[tuple[int, str], ...]

    def ask(
        self, path: str, handler: Handler, about: str, body: type, given: JsonObject
    ) -> Endpoint:
        """Something that is asked of a model; `given` is an example's body."""
        return Endpoint(
            "POST",
            path,
            handler,
            about,
            JsonObject,
            bodies=(body,),
            others=((202, JsonObject),),
            problems=self.problems,
            example=given,
            errors=self.errors,
            media_too=self.stream,
        )

    def look(self, path: str, handler: Handler, about: str, *params: Param) -> Endpoint:
        """What can be asked of."""
        problems = ((404, "model_not_found"),) if params else ()
        return Endpoint(
            "GET",
            path,
            handler,
            about,
            JsonObject,
            params=params,
            problems=problems,
            errors=self.errors,
        )


_OPENAI = _Form(OpenAiErrorsView, "text/event-stream", _ASKING)
_OLLAMA = _Form(OllamaErrorView, "application/x-ndjson", (*_ASKING, (400, "unsupported")))

_CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
_PROMPT = {"model": "auto", "prompt": "hello"}
_INPUT = {"model": "auto", "input": "hello"}
_TEXTS = {"model": "all-MiniLM-L6-v2", "input": "hello"}


def openai_endpoints(
    *,
    chat: Handler,
    completion: Handler,
    response: Handler,
    embed: Handler,
    models: Handler,
    model: Handler,
) -> list[Endpoint]:
    """OpenAI's door."""
    ask, look = _OPENAI.ask, _OPENAI.look
    name = Param("id", "Its name.", {"type": "string", "minLength": 1}, "auto")
    told = "An answer in the form of the Responses API."
    return [
        ask("/v1/chat/completions", chat, "A conversation's next message.", ChatRequest, _CHAT),
        ask("/v1/completions", completion, "How a text goes on.", CompletionRequest, _PROMPT),
        ask("/v1/responses", response, told, ResponsesRequest, _INPUT),
        ask("/v1/embeddings", embed, "Vectors of texts.", EmbeddingsRequest, _TEXTS),
        look("/v1/models", models, "The models that can be asked."),
        look("/v1/models/{id}", model, "One of them.", name),
    ]


def ollama_endpoints(
    *, chat: Handler, generate: Handler, embed: Handler, tags: Handler
) -> list[Endpoint]:
    """Ollama's door. It streams unless it is told not to."""
    ask, look = _OLLAMA.ask, _OLLAMA.look
    return [
        ask("/api/chat", chat, "A conversation's next message.", OllamaChatRequest, _CHAT),
        ask("/api/generate", generate, "An answer to a prompt.", OllamaGenerateRequest, _PROMPT),
        ask("/api/embed", embed, "Vectors of texts.", OllamaEmbedRequest, _TEXTS),
        look("/api/tags", tags, "The models that can be asked."),
    ]
