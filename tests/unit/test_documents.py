"""documents: whatever a user gives, as text or an image, or a clear refusal."""

import io
import os
import sys
from pathlib import Path

import pytest

from llmtask.documents import Image, Text, decode, read_document
from llmtask.errors import UsageError

RESUME = "# 陈喆\n\n电话：138-0000-0000\n8 年 Java 后端开发经验，近三年负责电商订单与履约系统。\n"
TRADITIONAL = (
    "# 陳予安\n\n八年 Java 開發經驗，近三年負責電商訂單與履約系統，熟悉高併發場景下的一致性、快取與訊息佇列設計。\n"
)
IMAGES = {
    "image/png": b"\x89PNG\r\n\x1a\n" + b"\x00" * 16,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"\x00" * 16,
    "image/gif": b"GIF89a" + b"\x00" * 16,
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
}


def given(tmp_path: Path, data: bytes, name: str = "resume.md") -> str:
    """The path of a file with that content."""
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def refusal(path: str) -> str:
    """What is said about a document that is refused."""
    with pytest.raises(UsageError) as caught:
        read_document("resume", path)
    return str(caught.value)


class Pipe:
    """A standard input that holds some bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)
        self.closed = False


@pytest.mark.parametrize(
    ("text", "written_in", "read_in"),
    [
        (RESUME, "utf-8", "utf-8"),
        (RESUME, "utf-8-sig", "utf-8"),
        (RESUME, "utf-16", "utf-16"),
        (RESUME, "gb18030", "gb18030"),
        ("陈喆", "gb18030", "gb18030"),
        ("简历", "gb2312", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        ("Zoë — résumé, 5 years of naïve Bayes at Café Ñandú", "cp1252", "cp1252"),
    ],
)
def test_a_text_is_read_in_its_encoding_and_says_which(
    tmp_path: Path, text: str, written_in: str, read_in: str
) -> None:
    assert read_document("resume", given(tmp_path, text.encode(written_in))) == Text(text, read_in)


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")])
def test_utf_16_is_read_in_either_byte_order(mark: bytes, encoding: str) -> None:
    assert decode(mark + RESUME.encode(encoding), "it") == Text(RESUME, "utf-16")


def test_line_ends_are_left_as_they_are(tmp_path: Path) -> None:
    found = read_document("resume", given(tmp_path, b"a\r\nb\rc\n"))
    assert isinstance(found, Text)
    assert found.text == "a\r\nb\rc\n"


@pytest.mark.parametrize(("media_type", "data"), IMAGES.items())
def test_an_image_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path, media_type: str, data: bytes) -> None:
    assert read_document("job", given(tmp_path, data, "job.txt")) == Image("job", media_type, data)


def test_a_text_named_as_an_image_is_text(tmp_path: Path) -> None:
    assert read_document("job", given(tmp_path, b"We seek", "job.png")) == Text("We seek", "utf-8")


@pytest.mark.parametrize("data", [b"", b" \n\t ", "\ufeff".encode(), "\ufeff  ".encode("utf-16-le"), "　\n".encode()])
def test_an_empty_document_is_refused(tmp_path: Path, data: bytes) -> None:
    assert refusal(given(tmp_path, data)).endswith("resume.md' is empty; give the text of 'resume'")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF; turn it into text first, e.g. `pdftotext FILE -`"),
        (b"PK\x03\x04word/", "is a Word file or another archive; save it as text or Markdown first"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Word file; save it as text or Markdown first"),
        (b"{\\rtf1\\ansi hello}", "is an RTF file; save it as text or Markdown first"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "is binary, not text; give text, Markdown or an image"),
        (b"\xef\xbb\xbf\xff\xff\xff", "begins as utf-8-sig and is not; save it as UTF-8"),
        (b"\xff\xfea", "begins as utf-16 and is not; save it as UTF-8"),
    ],
)
def test_what_no_model_reads_is_refused_with_what_to_do(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(given(tmp_path, data))


def test_bytes_that_are_no_text_in_any_encoding_are_refused() -> None:
    noise = bytes([0x81, 0x01, 0x9D, 0x02, 0xFF, 0x03, 0x8D, 0x04, 0x90, 0xFF] * 20)
    with pytest.raises(UsageError, match="it is no text in any known encoding; save it as UTF-8"):
        decode(noise, "it")


def test_a_missing_file_names_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal("resmue.md") == f"no file 'resmue.md' (working folder: {tmp_path})"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"{str(tmp_path)!r} is a folder; name a file in it"


@pytest.mark.parametrize("path", ["~nobody-has-this-name/x.md", "nul\x00byte", "x" * 5000])
def test_a_path_that_cannot_be_opened_is_refused(path: str) -> None:
    assert refusal(path).startswith(f"{path!r} cannot be read (")


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (Not a directory)" in refusal(given(tmp_path, b"x") + "/y")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given(tmp_path, b"mine")
    assert read_document("resume", "~/resume.md") == Text("mine", "utf-8")


def test_a_huge_file_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = given(tmp_path, b"x")
    os.truncate(path, 64 * 1024 * 1024 + 1)
    assert refusal(path) == f"{path!r} is larger than 64 MiB, which no model reads"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Pipe(RESUME.encode("gb18030")))
    assert read_document("resume", "-") == Text(RESUME, "gb18030")
    monkeypatch.setattr(sys, "stdin", Pipe(IMAGES["image/png"]))
    assert read_document("job", "-") == Image("job", "image/png", IMAGES["image/png"])
    monkeypatch.setattr(sys, "stdin", Pipe(b""))
    assert refusal("-") == "standard input is empty; give the text of 'resume'"


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert refusal("-") == "standard input is closed; name a file with --input FILE"
    closed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed)
    assert refusal("-") == "standard input is closed; name a file with --input FILE"
