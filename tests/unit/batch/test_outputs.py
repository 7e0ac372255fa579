"""batch.outputs: answers and failures on disk, whole or not at all, whatever the records are called."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from llmtask.batch.job import Outcome, State
from llmtask.batch.outputs import FolderOutputs, open_outputs
from llmtask.errors import Failure, ProjectError, UsageError

PENDING = Outcome("k", State.PENDING, reason="stopped")
FAILED = Outcome("k", State.FAILED, failure=Failure.SCHEMA_INVALID, reason="名 is missing")


def done(answer: str = '{"a": 1}') -> Outcome:
    return Outcome("k", State.DONE, answer=answer)


def written(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestLines:
    def test_answers_and_failures_are_lines_of_two_files(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            outputs.write([("1", done('{"陈": 1.50}')), ("2", PENDING), ("3", FAILED)])
            outputs.flush()
            assert outputs.failed_path == tmp_path / "out.failed.jsonl"
        assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"id": "1", "answer": {"陈": 1.50}}\n'
        assert written(tmp_path / "out.failed.jsonl") == [
            {"id": "3", "error_class": "schema_invalid", "reason": "名 is missing"}
        ]

    def test_no_failure_makes_no_file(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            outputs.write([("1", done())])
        assert names(tmp_path) == ["out.jsonl"]

    @pytest.mark.parametrize("record_id", ["a\nb", "\x00", '"', "\u2028", "陈喆", "x" * 100_000])
    def test_any_id_stays_on_its_line(self, tmp_path: Path, record_id: str) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            outputs.write([(record_id, done('{\r\n"a": 1\n}')), (record_id, FAILED)])
        (line,) = (tmp_path / "out.jsonl").read_bytes().splitlines()
        assert json.loads(line) == {"id": record_id, "answer": {"a": 1}}
        assert (tmp_path / "out.failed.jsonl").read_bytes().count(b"\n") == 1

    def test_half_a_surrogate_pair_is_an_escape(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            outputs.write([("\ud800", done('{"a": "\ud800"}'))])
        assert (tmp_path / "out.jsonl").read_bytes() == b'{"id": "\\ud800", "answer": {"a": "\\ud800"}}\n'

    def test_nobody_else_may_read_them(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            outputs.write([("1", done()), ("2", FAILED)])
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    @pytest.mark.parametrize("name", ["out.jsonl", "out.failed.jsonl"])
    def test_what_is_there_is_not_written_over_unasked(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("x\n")
        with pytest.raises(UsageError, match=r"(?s)exists.*batch resume.*--force"):
            open_outputs(str(tmp_path / "out.jsonl"))
        assert (tmp_path / name).read_text() == "x\n"

    def test_an_empty_file_is_free(self, tmp_path: Path) -> None:
        (tmp_path / "out.jsonl").touch()
        open_outputs(str(tmp_path / "out.jsonl")).close()

    def test_force_drops_what_an_earlier_run_left(self, tmp_path: Path) -> None:
        for name in ("out.jsonl", "out.failed.jsonl"):
            (tmp_path / name).write_text("x\n")
        with open_outputs(str(tmp_path / "out.jsonl"), force=True) as outputs:
            outputs.write([("1", done())])
        assert names(tmp_path) == ["out.jsonl"]
        assert len(written(tmp_path / "out.jsonl")) == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
    def test_a_full_disk_says_that_nothing_is_lost(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path / "out.jsonl")) as outputs:
            (tmp_path / "out.failed.jsonl").symlink_to("/dev/full")
            with pytest.raises(ProjectError, match=r"out\.failed\.jsonl.*No space left.*batch resume"):
                outputs.write([("1", FAILED)])

    def test_a_pipe_is_refused_and_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "out.jsonl")
        with pytest.raises(UsageError, match="no regular file"):
            open_outputs(str(tmp_path / "out.jsonl"))

    @pytest.mark.parametrize("out", ["out.csv", "out", "none/out.jsonl", "a\x00.jsonl", "~nobody-here/x.jsonl"])
    def test_what_cannot_be_written_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="--out"):
            open_outputs(out)
        assert names(tmp_path) == []

    def test_standard_output_gets_answers_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        piped = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", piped)
        with open_outputs("-") as outputs:
            outputs.write([("1", done()), ("2", FAILED)])
            outputs.flush()
            assert outputs.failed_path is None
        assert piped.buffer.getvalue() == b'{"id": "1", "answer": {"a": 1}}\n'  # type: ignore[attr-defined]

    def test_a_reader_that_has_left_is_no_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Left(io.BytesIO):
            def write(self, _data: object) -> int:
                raise BrokenPipeError

        class Piped:
            buffer = Left()

        monkeypatch.setattr(sys, "stdout", Piped())
        with open_outputs("-") as outputs, pytest.raises(BrokenPipeError):
            outputs.write([("1", done())])


class TestFolder:
    def test_each_answer_is_a_file(self, tmp_path: Path) -> None:
        with open_outputs(f"{tmp_path}/new/out/") as outputs:
            assert isinstance(outputs, FolderOutputs)
            outputs.write([("陈喆.txt", done('{"名": [1]}')), ("v1.2", done()), ("x", PENDING), ("y", FAILED)])
            outputs.flush()
        folder = tmp_path / "new" / "out"
        assert names(folder) == ["failed.jsonl", "v1.2.json", "陈喆.json"]
        assert (folder / "陈喆.json").read_text(encoding="utf-8") == '{\n  "名": [\n    1\n  ]\n}\n'
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    @pytest.mark.parametrize(
        ("record_id", "name"),
        [
            ("../../etc/passwd", "etc-passwd.json"),
            ("/etc/passwd", "etc-passwd.json"),
            ("..", "record.json"),
            ("", "record.json"),
            ("a\nb\x00c", "a-b-c.json"),
            ("C:\\x|y", "C--x-y.json"),
            ("con", "_con.json"),
            ("NUL.tar.gz", "_NUL.tar.json"),
            ("\ud800x", "x.json"),
            ("\u202egnp.exe", "gnp.json"),
            (".hidden", "hidden.json"),
            ("Zhang San.docx", "Zhang San.json"),
            ("a. ", "a.json"),
        ],
    )
    def test_no_id_leaves_the_folder(self, tmp_path: Path, record_id: str, name: str) -> None:
        folder = tmp_path / "a" / "b"
        with open_outputs(f"{folder}/") as outputs:
            outputs.write([(record_id, done())])
        assert names(folder) == [name]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / name]

    def test_long_ids_are_cut_and_stay_apart(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path)) as outputs:
            outputs.write([("喆" * 1000, done()), ("喆" * 999, done())])
        assert len(names(tmp_path)) == 2
        assert all(len(os.fsencode(name)) < 143 for name in names(tmp_path))

    def test_equal_names_get_numbers_in_order_and_again_the_same(self, tmp_path: Path) -> None:
        ids = ["a", "A", "a-2", "a/", "e\u0301", "\u00e9", "A-2"]
        seen = []
        for force in (False, True):
            with open_outputs(str(tmp_path), force=force) as outputs:
                outputs.write([(one, done(json.dumps(number))) for number, one in enumerate(ids)])
            seen.append({name: (tmp_path / name).read_text() for name in names(tmp_path)})
        assert seen[0] == seen[1]
        assert {name: int(text) for name, text in seen[0].items()} == {
            "a.json": 0,
            "A-2.json": 1,
            "a-2-2.json": 2,
            "a-3.json": 3,
            "e\u0301.json": 4,
            "\u00e9-2.json": 5,
            "A-2-3.json": 6,
        }

    def test_many_records_of_one_name_take_no_time(self, tmp_path: Path) -> None:
        with open_outputs(str(tmp_path)) as outputs:
            outputs.write([("x", done("1"))] * 3000)
        assert len(names(tmp_path)) == 3000

    def test_a_link_in_the_place_of_an_answer_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "victim").write_text("v")
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "x.json").symlink_to(tmp_path / "victim")
        (folder / ".x.json.part").symlink_to(tmp_path / "victim")
        with open_outputs(str(folder), force=True) as outputs:
            outputs.write([("x", done())])
        assert (tmp_path / "victim").read_text() == "v"
        assert names(folder) == ["x.json"]

    def test_an_answer_that_cannot_be_laid_out_is_written_as_it_came(self, tmp_path: Path) -> None:
        deep = "[" * 50_000 + "]" * 50_000
        with open_outputs(str(tmp_path)) as outputs:
            outputs.write([("n", done("7" * 5000)), ("d", done(deep)), ("s", done('"\\ud800"'))])
        assert (tmp_path / "n.json").read_text() == "7" * 5000 + "\n"
        assert (tmp_path / "d.json").read_text() == deep + "\n"
        assert (tmp_path / "s.json").read_text() == '"\\ud800"\n'

    def test_a_folder_that_is_not_empty_is_not_written_over_unasked(self, tmp_path: Path) -> None:
        (tmp_path / "own.json").write_text("o")
        (tmp_path / "failed.jsonl").write_text("{}\n")
        with pytest.raises(UsageError, match=r"is not empty.*batch resume.*--force"):
            open_outputs(str(tmp_path))
        with open_outputs(str(tmp_path), force=True) as outputs:
            outputs.write([("x", done())])
        assert names(tmp_path) == ["own.json", "x.json"]

    def test_a_file_in_the_folder_s_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("x")
        with pytest.raises(UsageError, match="--out"):
            open_outputs(f"{tmp_path}/out/")

    def test_a_folder_that_goes_away_says_that_nothing_is_lost(self, tmp_path: Path) -> None:
        with open_outputs(f"{tmp_path}/out/") as outputs:
            (tmp_path / "out").rmdir()
            with pytest.raises(ProjectError, match="nothing is lost"):
                outputs.write([("x", done())])
