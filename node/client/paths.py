"""What is asked of a node, as paths and queries of its HTTP interface."""

from __future__ import annotations

from urllib.parse import quote


def path_part(name: str) -> str:
    """An id as a part of a path; whatever else somebody types stays one part."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name) or "_"


def page(limit: int, after: str | None) -> str:
    """The query that asks for a page."""
    return f"?limit={limit}{query({'after': after})}"


def query(given: dict[str, str | None]) -> str:
    """More of a query, of what is not None."""
    return "".join(
        f"&{name}={quote(value, safe='')}" for name, value in given.items() if value is not None
    )
