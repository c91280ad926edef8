"""What `langchain-openai` and `instructor` do with a node, unchanged: `python asks.py http://127.0.0.1:PORT/v1`.

It runs in an environment of its own (`make clients`), and ends with the exit code 0 if all went well.
"""

from __future__ import annotations

import sys
from typing import Any


def langchain(url: str) -> None:
    """Plain, streamed, with a schema, and vectors."""
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: PLC0415 - see above
    from pydantic import BaseModel  # noqa: PLC0415 - as above

    model = ChatOpenAI(base_url=url, api_key="none", model="words", max_retries=0)
    answer = model.invoke("hello")
    assert answer.content == "one two three ", answer
    assert answer.usage_metadata["total_tokens"] == 10, answer
    pieces = [chunk.content for chunk in model.stream("hello")]
    assert "".join(pieces) == "one two three ", pieces
    assert len(pieces) > 2, pieces

    class Person(BaseModel):
        name: str
        age: int

    typed = ChatOpenAI(base_url=url, api_key="none", model="person", max_retries=0)
    found = typed.with_structured_output(Person, method="json_schema").invoke("who?")
    assert found == Person(name="x", age=1), found
    called = typed.with_structured_output(Person, method="function_calling").invoke("who?")
    assert called == Person(name="x", age=1), called
    vectors = OpenAIEmbeddings(
        base_url=url, api_key="none", model="words", check_embedding_ctx_length=False
    ).embed_documents(["a", "bb"])
    assert [vector[0] for vector in vectors] == [1.0, 2.0], vectors
    responses = ChatOpenAI(
        base_url=url, api_key="none", model="words", use_responses_api=True, max_retries=0
    )
    assert responses.invoke("hello").text == "one two three "


def structured(url: str) -> None:
    """Objects by schema, and by a call of a function."""
    import instructor  # noqa: PLC0415 - as above
    from openai import OpenAI  # noqa: PLC0415 - as above
    from pydantic import BaseModel  # noqa: PLC0415 - as above

    class Person(BaseModel):
        name: str
        age: int

    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    asked: dict[str, Any] = {
        "response_model": Person,
        "messages": [{"role": "user", "content": "who?"}],
        "max_retries": 0,
    }
    for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
        patched = instructor.from_openai(client, mode=mode)
        found = patched.chat.completions.create(model="person", **asked)
        assert (found.name, found.age) == ("x", 1), (mode, found)


if __name__ == "__main__":
    langchain(sys.argv[1])
    structured(sys.argv[1])
