"""batch.inputs: records out of lines, rows and files; a bad one fails alone."""

import io
import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from llmtask.batch import inputs
from llmtask.batch import table as table_module
from llmtask.batch.inputs import count_records, open_records
from llmtask.batch.job import Record
from llmtask.errors import UsageError
from llmtask.prompts import PromptFile, Variable

PROMPT = PromptFile(
    description="d",
    variables={
        "resume": Variable(description="the resume"),
        "posting": Variable(description="the posting", required=False),
    },
    system="s",
    user="u",
)
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 16


def records(path: Path, prompt: PromptFile = PROMPT, **base: str) -> list[Record]:
    return list(open_records(str(path), prompt, base))


def lines(tmp_path: Path, data: bytes, **base: str) -> list[Record]:
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)
    return records(path, **base)


def table(tmp_path: Path, data: bytes, **base: str) -> list[Record]:
    path = tmp_path / "in.csv"
    path.write_bytes(data)
    return records(path, **base)


def problem(record: Record) -> str:
    assert record.problem is not None
    assert not record.inputs.texts
    record.problem.encode()
    return record.problem


def refusal(source: Path | str, prompt: PromptFile = PROMPT) -> str:
    with pytest.raises(UsageError) as caught:
        list(open_records(str(source), prompt))
    return str(caught.value)


class TestLines:
    def test_a_line_is_an_object_of_variables(self, tmp_path: Path) -> None:
        (record,) = lines(tmp_path, '{"resume": "陈喆", "posting": null}\n'.encode())
        assert (record.id, dict(record.inputs.texts), record.problem) == ("1", {"resume": "陈喆"}, None)

    def test_a_line_that_is_a_text_fills_the_default_input(self, tmp_path: Path) -> None:
        assert dict(lines(tmp_path, b'"a"')[0].inputs.texts) == {"resume": "a"}

    def test_a_mark_at_the_beginning_crlf_and_blank_lines_are_no_matter(self, tmp_path: Path) -> None:
        found = lines(tmp_path, b'\xef\xbb\xbf{"resume": "a"}\r\n\r\n  \n{"resume": "b"}')
        assert [(one.id, one.inputs.texts["resume"]) for one in found] == [("1", "a"), ("4", "b")]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("12345678901234567890.10", "12345678901234567890.10"),
            ("1e999", "1e999"),
            ("7" * 5000, "7" * 5000),
            ("true", "true"),
            ('[1.50, "a", null]', '[1.50, "a", null]'),
            ('{"名": {"b": -0.0}}', '{"名": {"b": -0.0}}'),
            ('{"file": 3}', '{"file": 3}'),
        ],
    )
    def test_what_is_no_text_is_given_as_json_with_every_digit(self, tmp_path: Path, value: str, text: str) -> None:
        (record,) = lines(tmp_path, f'{{"resume": {value}}}'.encode())
        assert record.inputs.texts["resume"] == text

    def test_an_id_names_the_record_and_may_stand_twice(self, tmp_path: Path) -> None:
        found = lines(tmp_path, b'{"id": "x", "resume": "a"}\n{"id": 7, "resume": "a"}\n{"id": "x", "resume": "b"}\n')
        assert [one.id for one in found] == ["x", "7", "x"]
        assert {type(one.id) for one in found} == {str}

    def test_an_empty_id_or_none_is_the_line(self, tmp_path: Path) -> None:
        found = lines(tmp_path, b'{"id": " ", "resume": "a"}\n{"id": null, "resume": "a"}\n')
        assert [one.id for one in found] == ["1", "2"]

    def test_an_id_that_is_a_variable_is_its_value(self, tmp_path: Path) -> None:
        prompt = PromptFile(description="d", variables={"id": Variable(description="d")}, system="s", user="u")
        (tmp_path / "in.jsonl").write_bytes(b'{"id": "x"}')
        (record,) = records(tmp_path / "in.jsonl", prompt)
        assert (record.id, dict(record.inputs.texts)) == ("1", {"id": "x"})

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b'{"resum": "a"}', "no variable 'resum'; did you mean 'resume'?"),
            (b'{"posting": "a"}', "'resume' is missing (the resume)"),
            (b'{"resume": "  "}', "'resume' is missing"),
            (b'{"resume": "a"', "not valid JSON"),
            (b'{"resume": "\xb3\xc2"}', "byte 13 is not UTF-8"),
            (b'{"resume": "a", "resume": "b"}', "key 'resume' stands there twice"),
            (b'{"resume": {"a": 1, "a": 2}}', "key 'a' stands there twice"),
            (b'{"resume": NaN}', "NaN is no JSON"),
            (b'["a"]', "it is no object"),
            (b"42", "it is no object"),
            (b"null", "it is no object"),
            (b'{"id": {}, "resume": "a"}', "its id is neither"),
            (b'{"resume": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
            (b'{"\\ud800": "a"}', "no variable"),
            (b'{"' + b"k" * 1_000_000 + b'": "a"}', "no variable"),
            (b'{"resume": {"file": "none.txt"}}', "no file"),
            (b'{"resume": {"file": "a\\u0000b"}}', "cannot be read"),
            (b'{"resume": {"file": "-"}}', "no file"),
            (b'{"resume": {"file": ""}}', "is a folder"),
            (b'{"resume": {"file": "/dev/zero"}}', "no regular file"),
        ],
    )
    def test_a_bad_line_fails_alone_and_says_why(self, tmp_path: Path, line: bytes, said: str) -> None:
        found = lines(tmp_path, b'{"resume": "a"}\n' + line + b'\n{"resume": "b"}\n')
        assert [one.problem is None for one in found] == [True, False, True]
        assert problem(found[1]).startswith("line 2: ")
        assert said in problem(found[1])
        assert len(problem(found[1])) < 400

    def test_a_problem_keeps_the_id(self, tmp_path: Path) -> None:
        assert lines(tmp_path, b'{"id": "x", "resum": "a"}')[0].id == "x"

    def test_half_a_surrogate_pair_is_an_escape(self, tmp_path: Path) -> None:
        (record,) = lines(tmp_path, b'{"id": "\\udfff", "resume": "a\\ud800", "posting": ["\\ud800"]}')
        assert record.id == "\\udfff"
        assert dict(record.inputs.texts) == {"resume": "a\\ud800", "posting": '["\\ud800"]'}

    def test_a_nul_is_a_character_like_others(self, tmp_path: Path) -> None:
        assert lines(tmp_path, b'{"resume": "a\\u0000b"}')[0].inputs.texts["resume"] == "a\x00b"

    def test_a_line_that_would_fill_the_memory_fails_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inputs, "MOST_BYTES", 100)
        monkeypatch.setattr(inputs, "_BLOCK_BYTES", 7)
        found = lines(tmp_path, b'{"resume": "' + b"a" * 1000 + b'"}\n"b"\n' + b"c" * 500)
        assert [one.problem is None for one in found] == [False, True, False]
        assert found[1].id == "2"

    def test_a_file_is_looked_for_beside_the_lines(self, tmp_path: Path) -> None:
        (tmp_path / "~a.txt").write_bytes("陈喆，后端开发".encode("gb18030"))
        (tmp_path / "b.png").write_bytes(PNG)
        found = lines(tmp_path, b'{"resume": {"file": "~a.txt"}}\n{"resume": {"file": "b.png"}}', resume="base")
        assert found[0].inputs.texts["resume"] == "陈喆，后端开发"
        assert not found[1].inputs.texts
        assert [(image.name, image.media_type) for image in found[1].inputs.images] == [("resume", "image/png")]

    def test_a_record_s_own_texts_go_before_those_of_all(self, tmp_path: Path) -> None:
        found = lines(
            tmp_path,
            b'{"resume": "a"}\n{"resume": "b", "posting": "own"}\n{"posting": null, "resume": "c"}\n',
            posting="all",
        )
        assert [one.inputs.texts["posting"] for one in found] == ["all", "own", "all"]

    def test_standard_input_is_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        piped = io.TextIOWrapper(io.BytesIO(b'{"resume": "a"}\n"b"\n'), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", piped)
        assert [one.inputs.texts["resume"] for one in open_records("-", PROMPT)] == ["a", "b"]
        assert count_records("-") is None
        assert not piped.closed

    def test_standard_input_may_be_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert "closed" in refusal("-")

    def test_an_empty_file_has_no_records(self, tmp_path: Path) -> None:
        assert lines(tmp_path, b"") == []
        assert lines(tmp_path, b"\xef\xbb\xbf\n") == []

    def test_many_lines_take_no_more_memory_than_few(self, tmp_path: Path) -> None:
        path = tmp_path / "in.jsonl"
        with path.open("wb") as file:
            file.writelines(b'{"id": %d, "resume": "%d"}\n' % (number, number) for number in range(60_000))
        tracemalloc.start()
        try:
            count = sum(1 for _ in open_records(str(path), PROMPT))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert count == count_records(str(path)) == 60_000
        assert peak < 1_000_000


class TestRows:
    def test_the_header_names_variables_and_the_id(self, tmp_path: Path) -> None:
        found = table(tmp_path, b'id, resume ,posting\r\nx,"a, ""b""\nc",\r\n,d,e\r\n')
        assert [(one.id, dict(one.inputs.texts)) for one in found] == [
            ("x", {"resume": 'a, "b"\nc'}),
            ("2", {"resume": "d", "posting": "e"}),
        ]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
    def test_it_is_read_in_what_spreadsheets_write(self, tmp_path: Path, encoding: str) -> None:
        text = "resume\n" + "陈喆，后端开发，北京\n" * 10_000
        found = table(tmp_path, text.encode(encoding))
        assert len(found) == 10_000
        assert {one.inputs.texts["resume"] for one in found} == {"陈喆，后端开发，北京"}

    def test_what_comes_late_tells_the_encoding_too(self, tmp_path: Path) -> None:
        found = table(tmp_path, ("resume\n" + "a\n" * 70_000 + "陈喆，后端开发\n").encode("gb18030"))
        assert found[-1].inputs.texts["resume"] == "陈喆，后端开发"

    def test_bytes_that_are_no_text_fail_alone(self, tmp_path: Path) -> None:
        found = table(tmp_path, b"resume\n" + "陈\n".encode() * 30_000 + b"\xff\n" + "喆\n".encode())
        assert [one.id for one in found if one.problem] == ["30001"]
        assert "CSV UTF-8" in problem(found[30_000])

    def test_a_cell_may_be_long_and_the_limit_of_others_stays(self, tmp_path: Path) -> None:
        import csv

        before = csv.field_size_limit()
        (record,) = table(tmp_path, b"resume\n" + b"a" * 2**20 + b"\n")
        assert len(record.inputs.texts["resume"]) == 2**20
        assert csv.field_size_limit() == before

    def test_an_empty_cell_is_not_given(self, tmp_path: Path) -> None:
        found = table(tmp_path, b"resume,posting\n,b\n,,\n\na, \n", resume="all")
        assert dict(found[0].inputs.texts) == {"resume": "all", "posting": "b"}
        assert [one.id for one in found] == ["1", "4"]

    def test_a_row_of_another_length_fails_alone(self, tmp_path: Path) -> None:
        found = table(tmp_path, b"resume,posting\na,b,c\nd,e\nf\n")
        assert [one.problem is None for one in found] == [False, True, False]
        assert "3 cells, and the header has 2" in problem(found[0])

    def test_a_broken_quote_is_the_row_s_problem(self, tmp_path: Path) -> None:
        found = table(tmp_path, b'resume\n"a"b\nc\n"d\n')
        assert [one.problem is None for one in found] == [False, True, False]
        assert "not valid CSV" in problem(found[2])

    def test_a_quote_that_swallows_the_file_ends_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_module, "MOST_BYTES", 100)
        found = table(tmp_path, b'resume\na\n"b\n' + b"c\n" * 200)
        assert [one.problem is None for one in found] == [True, False]

    def test_a_nul_late_in_the_file_is_a_character(self, tmp_path: Path) -> None:
        found = table(tmp_path, b"resume\n" + "陈\n".encode() * 30_000 + b"a\x00b\n")
        assert found[-1].inputs.texts["resume"] == "a\x00b"

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"resum\na\n", "unknown column 'resum'; did you mean 'resume'?"),
            (b"resume;posting\na;b\n", "there is one column"),
            (b"resume,\na,\n", "column 2 has no name"),
            (b"resume,resume\na,b\n", "two columns 'resume'"),
            (b'"resume\na\n', "header is not valid CSV"),
            (b"resume\na\x00b\n", "binary"),
            (b"PK\x03\x04abc", "archive"),
        ],
    )
    def test_a_table_that_fits_nothing_is_refused(self, tmp_path: Path, data: bytes, said: str) -> None:
        (tmp_path / "in.csv").write_bytes(data)
        assert said in refusal(tmp_path / "in.csv")

    def test_an_empty_file_has_no_records(self, tmp_path: Path) -> None:
        assert table(tmp_path, b"") == []
        assert table(tmp_path, b"\r\n\r\n") == []
        assert count_records(str(tmp_path / "in.csv")) == 0

    def test_rows_are_counted_not_lines(self, tmp_path: Path) -> None:
        table(tmp_path, b'resume\n"a\nb"\nc\n')
        assert count_records(str(tmp_path / "in.csv")) == 2


class TestFolder:
    def test_each_file_is_a_record(self, tmp_path: Path) -> None:
        (tmp_path / "b.txt").write_text("b")
        (tmp_path / "a.jsonl").write_text('{"resume": "x"}\n')
        (tmp_path / "c.png").write_bytes(PNG)
        (tmp_path / ".hidden").write_text("h")
        (tmp_path / "folder").mkdir()
        (tmp_path / "loop").symlink_to("loop")
        os.mkfifo(tmp_path / "pipe")
        found = records(tmp_path, posting="p")
        assert [one.id for one in found] == ["a.jsonl", "b.txt", "c.png"]
        assert dict(found[0].inputs.texts) == {"posting": "p", "resume": '{"resume": "x"}\n'}
        assert found[2].inputs.images[0].media_type == "image/png"
        assert count_records(str(tmp_path)) == 3

    def test_a_file_that_nobody_can_read_fails_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(" ")
        (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7")
        (tmp_path / "c.txt").write_text("c")
        found = records(tmp_path)
        assert "is empty" in problem(found[0])
        assert "pdftotext" in problem(found[1])
        assert found[2].problem is None

    def test_a_name_that_is_no_unicode_is_an_escape(self, tmp_path: Path) -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xb3\xc2.txt")).write_text("a", encoding="utf-8")
        assert records(tmp_path)[0].id == "\\udcb3\\udcc2.txt"

    def test_an_empty_one_is_refused(self, tmp_path: Path) -> None:
        assert "no file in" in refusal(tmp_path)

    def test_a_task_without_variables_takes_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a")
        bare = PromptFile(description="d", system="s", user="u")
        assert "no variable that a file fills" in refusal(tmp_path, bare)
        (tmp_path / "a.jsonl").write_text('{}\n"a"\n')
        found = records(tmp_path / "a.jsonl", bare)
        assert found[0].problem is None
        assert "no variable that takes it" in problem(found[1])


class TestSources:
    @pytest.mark.parametrize(
        ("source", "said"),
        [("none.jsonl", "no file or folder"), ("a\x00b", "cannot be read"), ("~nobody-here/x", "read")],
    )
    def test_one_that_is_not_there_is_refused(self, source: str, said: str) -> None:
        assert said in refusal(source)
        with pytest.raises(UsageError):
            count_records(source)

    def test_one_of_an_unknown_kind_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "in.xlsx").write_bytes(b"PK")
        assert "give a .jsonl or .csv file" in refusal(tmp_path / "in.xlsx")

    def test_a_pipe_is_refused_and_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "in.jsonl")
        assert "no regular file" in refusal(tmp_path / "in.jsonl")

    def test_lines_in_utf_16_are_refused_as_a_whole(self, tmp_path: Path) -> None:
        (tmp_path / "in.jsonl").write_bytes('{"resume": "a"}\n'.encode("utf-16"))
        assert "save it as UTF-8" in refusal(tmp_path / "in.jsonl")

    def test_it_is_refused_before_the_first_record_is_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("nothing\na\n")
        with pytest.raises(UsageError):
            open_records(str(tmp_path / "in.csv"), PROMPT)

    def test_a_text_for_all_must_be_a_variable_s(self, tmp_path: Path) -> None:
        (tmp_path / "in.jsonl").write_text(json.dumps({"resume": "a"}))
        with pytest.raises(UsageError, match="did you mean 'posting'"):
            open_records(str(tmp_path / "in.jsonl"), PROMPT, {"postin": "x"})

    def test_lines_without_a_last_end_are_counted(self, tmp_path: Path) -> None:
        (tmp_path / "in.ndjson").write_bytes(b"1\n2")
        assert count_records(str(tmp_path / "in.ndjson")) == 2
