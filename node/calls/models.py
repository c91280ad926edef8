"""The doors for models, the servers behind them, and the caches of their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

import httpx2
import msgspec

from node.answers import NotReachableError, RefusedError, decoded
from node.calls.base import Calls
from node.views.records import BackendsView, BackendView, CachesView, JsonObject


class ModelCalls(Calls):
    """What has to do with models."""

    def models(self) -> JsonObject:
        """The models that can be asked, in OpenAI's form."""
        return self._get("/v1/models", JsonObject)

    def backends(self) -> BackendsView:
        """The model servers of this machine."""
        return self._get("/api/v2/backends", BackendsView)

    def add_backend(self, row: JsonObject) -> BackendView:
        """Ask one more model server: a table `[[backend]]` of config.toml."""
        return self._post("/api/v2/backends", row, BackendView)

    def remove_backend(self, name: str) -> None:
        """Ask a model server no more."""
        self._delete(f"/api/v2/backends/{quote(name, safe='')}")

    def caches(self) -> CachesView:
        """How full the caches of answers are."""
        return self._get("/api/v2/caches", CachesView)

    def clear_caches(self) -> CachesView:
        """Forget all answers that are kept."""
        return decoded(self._send("DELETE", "/api/v2/caches", owner=True), CachesView)

    @contextmanager
    def streaming(
        self, path: str, content: JsonObject, wishes: Mapping[str, str]
    ) -> Iterator[Iterator[bytes]]:
        """A streamed answer, as its bytes come; a model may think for minutes before the first."""
        body = msgspec.json.encode(content)
        headers = {"Content-Type": "application/json", "X-Bizra-Explain": "1", **wishes}
        try:
            with self._http.stream(
                "POST", path, content=body, headers=headers, timeout=None
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer)
                yield answer.iter_raw()
        except httpx2.TransportError as error:
            raise NotReachableError(
                f"the daemon at {self.url} does not answer ({error}); "
                "start it again with: bizra-node run"
            ) from None


class _OpenAiError(msgspec.Struct):
    message: str
    code: str | None = None


class _OpenAiProblem(msgspec.Struct):
    error: _OpenAiError


def _refused(response: httpx2.Response) -> RefusedError:
    """An answer of the doors for models that is an error."""
    try:
        told = msgspec.json.decode(response.content, type=_OpenAiProblem).error
    except msgspec.DecodeError:
        return RefusedError(response.status_code, "not_understood", f"HTTP {response.status_code}")
    return RefusedError(response.status_code, told.code or "failed", told.message)
