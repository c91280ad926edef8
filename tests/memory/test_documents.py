"""Files and folders to documents: what is read, what is left out and why, and what is refused."""

from __future__ import annotations

import os
import random
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from memory.documents import DocumentError, Limits, read_documents
from memory.formats import text_of
from memory.html_text import html_to_text
from memory.not_text import NotText

MAX_CHARS = 100_000


def pdf_bytes(*pages: str, password: str | None = None) -> bytes:
    """A PDF with one line of text on each page."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = content
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    buffer = BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"plain\r\ntext\rhere\n", "plain\ntext\nhere"),
        ("a.md", b"\xef\xbb\xbf# Title\n", "# Title"),
        ("a.txt", "naïve 東京".encode("utf-16"), "naïve 東京"),
        ("a.txt", "Größe".encode("utf-32"), "Größe"),
        ("a.txt", "Привет, как дела? Это простой текст на русском языке.".encode("cp1251"),
         "Привет, как дела? Это простой текст на русском языке."),
        ("a.txt", "Schöne Grüße aus München, über Straßen und Äcker.".encode("cp1252"),
         "Schöne Grüße aus München, über Straßen und Äcker."),
        ("a.py", b"def f():\n\treturn 1\n\x0c\nx = 2", "def f():\n\treturn 1\n\n\nx = 2"),
        ("log.txt", b"\x1b[31mred\x1b[0m " + b"text " * 80, "[31mred[0m " + "text " * 80),
        ("a.html", b"<h1>Head</h1><p>One &amp; two.<script>bad()</script><ul><li>x<li>y</ul>",
         "# Head\n\nOne & two.\n\n- x\n- y"),
        ("noname", b"<!DOCTYPE html><title>T</title><body>Text", "T\n\nText"),
        ("a.pdf", pdf_bytes("First page.", "Second page."), "First page.\n\nSecond page."),
    ],
)  # fmt: skip
def test_text_of_known_bytes(name: str, data: bytes, expected: str) -> None:
    assert text_of(name, data, MAX_CHARS).strip() == expected.strip()


RANDOM_BYTES = random.Random(7).randbytes(4000)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\t", "is empty"),
        ("a.txt", b"\xef\xbb\xbf \n", "holds no text"),
        ("a.html", b"<script>only()</script>", "holds no text"),
        ("a.txt", RANDOM_BYTES, "binary data"),
        ("a.txt", bytes(byte for byte in RANDOM_BYTES if byte >= 128), "binary data"),
        ("a.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "binary data"),
        ("a.txt", b"\xff\xfe\x00\xd8", "binary data"),
        ("a.txt", b"x" * (MAX_CHARS + 1), "more than 100,000 characters; split it"),
        ("a.pdf", pdf_bytes("locked", password="secret"), "encrypted PDF; save it without"),
        ("a.pdf", pdf_bytes(""), "PDF without text.*text recognition"),
        ("a.pdf", b"%PDF-1.7\n" + RANDOM_BYTES, "damaged PDF.*save it anew"),
        ("a.pdf", pdf_bytes("half")[:200], "damaged PDF.*save it anew"),
    ],
)
def test_bytes_without_text_are_refused_with_what_to_do(
    name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(NotText, match=reason):
        text_of(name, data, MAX_CHARS)


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.html", "a.pdf"]), st.booleans())
def test_any_bytes_give_clean_text_or_a_refusal(data: bytes, name: str, is_pdf: bool) -> None:
    try:
        text = text_of(name, b"%PDF-1.4\n" + data if is_pdf else data, MAX_CHARS)
    except NotText:
        return
    assert text.strip()
    assert "\r" not in text
    assert "\x00" not in text
    assert text.encode("utf-8").decode("utf-8") == text


@given(st.text(max_size=200))
def test_any_html_gives_text(html: str) -> None:
    assert isinstance(html_to_text(f"<p>{html}</p><pre>{html}"), str)


def test_a_pdf_locked_for_printing_only_is_read() -> None:
    """An empty user password opens it for everybody."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(pdf_bytes("open text"))))
    writer.encrypt(user_password="", owner_password="owner", algorithm="RC4-128")
    buffer = BytesIO()
    writer.write(buffer)
    assert text_of("a.pdf", buffer.getvalue(), MAX_CHARS) == "open text"


def test_preformatted_html_becomes_a_fenced_block() -> None:
    assert html_to_text("<p>a<pre>x  =\n 1</pre>b") == "a\n\n```\nx  =\n 1\n```\n\nb"


def test_a_folder_is_read_sorted_with_reasons_for_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "sub" / "deep" / "c.rst").write_text("third")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / "image.bin").write_bytes(RANDOM_BYTES)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.md")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.txt").write_text("x" * 2000)
    reading = read_documents(tmp_path, Limits(file_bytes=1000))
    assert [(document.name, document.text) for document in reading.documents] == [
        ("a.md", "first"),
        ("b.txt", "second"),
        ("sub/deep/c.rst", "third"),
    ]
    reasons = {left.name: left.reason for left in reading.left_out}
    assert set(reasons) == {".git", "image.bin", "link.txt", "loop", "pipe", "large.txt"}
    assert "is hidden" in reasons[".git"]
    assert "symbolic link" in reasons["loop"]
    assert "no regular file" in reasons["pipe"]
    assert "larger than 1,000 bytes; split it" in reasons["large.txt"]
    assert all(
        str(tmp_path / name) in reason for name, reason in reasons.items() if name != "large.txt"
    )


def test_one_named_file_becomes_one_document_even_if_hidden(tmp_path: Path) -> None:
    path = tmp_path / ".notes"
    path.write_text("text")
    (document,) = read_documents(path).documents
    assert (document.name, document.text) == (".notes", "text")


def test_a_name_that_is_no_unicode_is_made_printable(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("text")
    (document,) = read_documents(tmp_path).documents
    assert document.name == "caf?.txt"


@pytest.mark.parametrize("name", ["missing.txt", "pipe", "broken", "nul\0l"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DocumentError, match=r"(does not exist|no regular file|cannot be read).*; "):
        read_documents(tmp_path / name)


def test_a_file_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("text")

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, whom nothing stops
    with pytest.raises(DocumentError, match=r"secret\.txt cannot be read \(Permission denied\)"):
        read_documents(path)


def test_a_folder_without_any_document_says_why(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="holds no document that can be read; name another"):
        read_documents(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DocumentError, match=r"first of 1: .*empty\.txt is empty"):
        read_documents(tmp_path)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(documents=2), "more than 2 documents; name a smaller folder"),
        (Limits(total_bytes=9), "more than 9 bytes of documents; name a smaller folder"),
    ],
)
def test_a_folder_beyond_the_limits_is_refused_whole(
    tmp_path: Path, limits: Limits, reason: str
) -> None:
    for index in range(3):
        (tmp_path / f"{index}.txt").write_text("text")
    with pytest.raises(DocumentError, match=reason):
        read_documents(tmp_path, limits)


def test_a_pdf_is_read_no_further_than_the_limit() -> None:
    data = pdf_bytes(*(f"page {index} " + "word " * 20 for index in range(30)))
    with pytest.raises(NotText, match="more than 500 characters; split it"):
        text_of("a.pdf", data, 500)
