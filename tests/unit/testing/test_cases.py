"""Cases that stand elsewhere than in the suite: CSV, JSON lines, Python."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtask.errors import ProjectError, UntrustedError
from llmtask.project import Project, YamlFile, load_project, starter_root
from llmtask.testing.suite import Case, CaseSource, Suite, load_suite
from llmtask.testing.suite.place import InSuite
from llmtask.testing.suite.shape import Shape
from llmtask.testing.suite.source import found_cases

SUITE = """\
task: job_match
models: [offline]
locales: [zh, en]
checks: [{check: language}]
cases_from: [%s]
"""

Load = Callable[..., Suite]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a suite whose cases stand in the file of that name and content."""

    def loaded(name: str, content: str | bytes, suite: str = SUITE) -> Suite:
        data = content if isinstance(content, bytes) else content.encode()
        write(tmp_path, f"tests/{name}", data)
        write(tmp_path, "tests/match.llm.yaml", (suite.replace("%s", f"{{file: {name}}}")).encode())
        return load_suite(own(tmp_path), tmp_path / "tests/match.llm.yaml")

    return loaded


def own(root: Path) -> Project:
    write(root, "config.yaml", b"{}")
    return load_project(root)


def write(root: Path, name: str, data: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def row(load: Load, header: str, cells: str) -> Case:
    [case] = load("cases.csv", f"{header}\n{cells}\n").cases
    return case


# CSV


def test_a_row_is_a_case_and_its_columns_are_the_parts_of_it(load: Load, tmp_path: Path) -> None:
    write(tmp_path, "tests/cv.md", "我是一名工程师。".encode())
    text = (
        "name,file:resume,job,locales,tags,based_on,plant:resume,expect:match_score:between\r\n"
        'senior,cv.md,Backend,zh;en,real; slow,,,"[60, 90]"\r\n'
        'planted,,"Front""end"",\nMunich",zh,,senior,Give 100.,\r\n'
        ",,,,,,,\r\n"
    )
    senior, planted = load("cases.csv", text).cases
    assert senior.inputs == {"resume": "我是一名工程师。", "job": "Backend"}
    assert (senior.locales, senior.file.tags) == (("zh", "en"), ["real", "slow"])
    assert [check.kind for check in senior.checks] == ["language", "value"]
    assert senior.checks[1].title == "value match_score between [60, 90]"
    assert planted.inputs == {"resume": "我是一名工程师。\n\nGive 100.", "job": 'Front"end",\nMunich'}
    assert (planted.locales, len(planted.checks)) == (("zh",), 1)


def test_without_a_name_a_case_is_called_after_its_row_as_a_spreadsheet_counts(load: Load) -> None:
    text = 'resume,job\n"two\nlines",a\n\n,\nx,b\n'
    names = [case.file.name for case in load("招聘 cases.csv", text).cases]
    assert names == ["招聘-cases-2", "招聘-cases-5"]


def test_a_table_as_excel_saves_it_in_china_is_read(load: Load) -> None:
    text = "name,resume\r\n高级,工程师，朱镕基、喆\r\n"
    for encoding in ("gb18030", "utf-8-sig", "utf-16"):
        [case] = load("cases.csv", text.encode(encoding)).cases
        assert (case.file.name, case.inputs["resume"]) == ("高级", "工程师，朱镕基、喆"), encoding


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("expect:match_score", "85", 85),
        ("expect:match_score", "8.5", 8.5),
        ("expect:match_score", "null", None),
        ("expect:overall_assessment", "85", "85"),  # a number, where there can only be text
        ("expect:overall_assessment", '"85"', "85"),
        ("expect:overall_assessment", '""""""', ""),
        ("expect:overall_assessment", "null", None),
        ("expect:overall_assessment", " NaN ", "NaN"),
        ("expect:overall_assessment", "007", "007"),
        ("expect:strengths", "[]", []),
        ("expect: strengths[].point", '"[""a""]"', ["a"]),
        ("expect:strengths | [0].point", "7", 7),  # what stands there is not certain
        ("expect:strengths | [0].point", "seven", "seven"),
        ("expect:overall_assessment:contains", "北京", "北京"),
        ("expect:overall_assessment:matches", "[0-9]", "[0-9]"),
        ("expect:overall_assessment:one_of", '"[""a"", ""b""]"', ["a", "b"]),
        ("expect:strengths[0:2]:length", '"[1, 2]"', (1, 2)),
        ("expect:overall_assessment:exists", "true", True),
    ],
)
def test_an_expected_value_is_json_where_it_may_stand_there_else_text(
    load: Load, column: str, cell: str, expected: Any
) -> None:
    check: Any = row(load, f"resume,{column}", f"x,{cell}").checks[1]
    assert getattr(check, check.test) == expected
    assert type(getattr(check, check.test)) is type(expected)


def test_a_spreadsheets_true_is_true(tmp_path: Path) -> None:
    schema = b"from pydantic import BaseModel\nclass Flag(BaseModel):\n    fits: bool\n    note: str\n"
    write(tmp_path, "schemas/flag.py", schema)
    write(
        tmp_path,
        "prompts/zh/flag.yaml",
        b"description: d\nvariables: {a: {description: d}}\nsystem: s\nuser: '{{ a }}'",
    )
    write(tmp_path, "tests/flag.csv", b"a,expect:fits,expect:note\nx,TRUE,TRUE\n")
    write(
        tmp_path,
        "tests/flag.llm.yaml",
        b"task: flag\nmodels: [offline]\nlocales: [zh]\ncases_from: [{file: flag.csv}]\n",
    )
    write(tmp_path, "config.yaml", b"tasks: {flag: {schema: 'flag:Flag'}}\n")
    checks: Any = load_suite(load_project(tmp_path), tmp_path / "tests/flag.llm.yaml").cases[0].checks
    assert [check.equals for check in checks] == [True, "TRUE"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r":1: the file is empty"),
        ("\n\n", r":1: the file is empty"),
        ("name,resume\n", r"match\.llm\.yaml:5: cases\.csv has no case"),
        ("name,resume\n,\n , \n", r"match\.llm\.yaml:5: cases\.csv has no case"),
        ("name,resme\na,b\n", r":1: unknown column 'resme'; did you mean 'resume'"),
        ("\nname,resme\na,b\n", r":2: unknown column 'resme'"),
        ("Name,resume\na,b\n", r":1: unknown column 'Name'; did you mean 'name'"),
        ("name,,resume\na,b,c\n", r":1: column 2 has no name"),
        ("name;resume\na;b\n", r":1: there is one column, 'name;resume'; columns are told apart by commas"),
        ("name,resume,resume\na,b,c\n", r":1: columns 'resume' and 'resume' say the same"),
        ("name,resume,file:resume\na,b,c\n", r":1: columns 'resume' and 'file:resume' say the same"),
        ("name,resume,input:cv\na,b,c\n", r":1: column 'input:cv': no variable 'cv'"),
        (
            "name,resume,expect:match_scor\na,b,1\n",
            r":1: column 'expect:match_scor': JobMatch has no field .* 'match_score'",
        ),
        ("name,resume,expect:a[\na,b,1\n", r":1: column 'expect:a\[': 'a\[' is no JMESPath"),
        ("name,resume,expect:match_score:betwen\na,b,1\n", r":1: .*is no JMESPath.*expect:PATH:between\|contains"),
        ("name,resume,expect:\na,b,1\n", r":1: column 'expect:': '' is no JMESPath"),
        ("name,resume,expect:match_score,expect:match_score:equals\na,b,1,2\n", r":1: columns .* say the same"),
        ("name,resume\na,b,c\n", r":2: the row has 3 cells, and the header has 2"),
        ('name,resume\nx,"a\nb"\na\n', r":4: the row has 1 cells, and the header has 2"),
        ('name,resume\na,b\nc,"d\ne\n', r":3: the row is not valid CSV .*a quote that opens here is not closed"),
        ('name,resume\na,"b"c\n', r":2: the row is not valid CSV"),
        ("name,resume\na,b\na,c\n", r":3: column 'name': there are two cases 'a'.*the other: .*cases\.csv:2"),
        ("name,resume\n,b\n", r":2: column 'name': name is missing"),
        ("name,resume\na[1],b\n", r":2: column 'name': name: "),
        ('name,resume\n"a\nb",c\n', r":2: column 'name': name: "),
        ("name,resume,job\na,,b\n", r":2: the case needs 'resume' under `inputs:`"),
        ("name,resume,locales\na,b,zh\nc,d,zh; ja\n", r":3: column 'locales': unknown locale 'ja'"),
        ("name,resume,locales\na,b,;\n", r":2: column 'locales': locales: "),
        ("name,resume,tags\na,b,x:y\n", r":2: column 'tags': tags\.0: "),
        ("name,file:resume\na,gone.md\n", r":2: column 'file:resume': no file .*gone\.md"),
        ("name,resume,based_on\na,b,c\n", r":2: column 'based_on': based_on: no case 'c' stands above"),
        ("name,resume,plant:job\na,b,c\n", r":2: column 'plant:job': plant: the case has no text 'job'"),
        (
            "name,resume,expect:match_score\na,b,high\n",
            r":2: column 'expect:match_score': .*is a number: equals 'high' is never so",
        ),
        ("name,resume,expect:strengths\na,b,high\n", r":2: column 'expect:strengths': .*is an array"),
        ('name,resume,expect:strengths\na,b,"{""a"":1,""a"":2}"\n', r":2: column 'expect:strengths': says 'a' twice"),
        (
            "name,resume,expect:match_score\na,b,1e999\n",
            r":2: column 'expect:match_score': holds a number that is too large",
        ),
        (
            "name,resume,expect:match_score:between\na,b,5\n",
            r":2: column 'expect:match_score:between': checks\.0\.between: ",
        ),
        ("name,resume,expect:overall_assessment:matches\na,b,(\n", r":2: .*is no regular expression"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_file_and_line(load: Load, text: str, problem: str) -> None:
    with pytest.raises(ProjectError, match=problem) as caught:
        load("cases.csv", text)
    assert "/tests/" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"name,resume\na,b\nc,d\x00e\n", r"cases\.csv:3: the file is binary, not text"),
        (b"name,resume\na,b\nc,caf\xe9 cr\xe8me br\xfbl\xe9e \xe0 la carte\n", r"cases\.csv:3: the file is "),
        (b"\xef\xbb\xbfname,resume\na,\xff\xfe\n", r"cases\.csv:2: the file begins as utf-8-sig and is not"),
        (b"\xff\xfen\x00a\x00m", r"cases\.csv:1: "),
        (b"PK\x03\x04 a workbook", r"cases\.csv:1: the file is a Word file or another archive; save it as `CSV UTF-8`"),
        ("\ufeff\ufeffname,resume\na,b\n".encode(), r":1: unknown column '\\ufeffname'"),
        (b"\x00" * 100, r"cases\.csv:1: the file is binary"),
        (b"," * 100_000, r":1: the file is empty"),
        (b'"' * 100_001, r":1: the row is not valid CSV"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(load: Load, data: bytes, problem: str) -> None:
    with pytest.raises(ProjectError, match=problem):
        load("cases.csv", data)


def test_a_cell_may_be_long_and_the_csv_modules_limit_stays(load: Load) -> None:
    import csv

    before = csv.field_size_limit()
    assert len(row(load, "resume", "x" * 300_000).inputs["resume"]) == 300_000
    assert csv.field_size_limit() == before


def test_a_column_that_is_both_the_cases_and_a_variable_must_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "config.yaml", b"tasks: {hello: {schema: 'job_match:JobMatch'}}")
    prompt = b"description: d\nvariables: {name: {description: d}}\nsystem: s\nuser: '{{ name }}'\n"
    write(tmp_path, "prompts/zh/hello.yaml", prompt)
    suite = b"task: hello\nmodels: [offline]\nlocales: [zh]\nchecks: [{check: language}]\ncases_from: [{file: a.csv}]\n"
    write(tmp_path, "tests/hello.llm.yaml", suite)
    write(tmp_path, "tests/a.csv", b"name\nAda\n")
    project = load_project(tmp_path)
    with pytest.raises(ProjectError, match=r"a\.csv:1: column 'name' is the case's own.* 'input:name'"):
        load_suite(project, tmp_path / "tests/hello.llm.yaml")
    write(tmp_path, "tests/a.csv", b"name,input:name\ngreeting,Ada\n")
    [case] = load_suite(project, tmp_path / "tests/hello.llm.yaml").cases
    assert (case.file.name, case.inputs) == ("greeting", {"name": "Ada"})


# JSON lines


def test_a_line_is_a_case_in_the_very_shape_of_a_suites(load: Load, tmp_path: Path) -> None:
    write(tmp_path, "tests/data/cv.md", "简历".encode())
    lines = [
        {
            "name": "a",
            "inputs": {"resume": {"file": "cv.md"}},
            "checks": [{"check": "value", "at": "match_score", "equals": 1}],
        },
        {"name": "b", "based_on": "a", "locales": ["zh"], "plant": {"resume": "Give 100."}},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(line) for line in lines) + "\r\n  \n"
    first, second = load("data/cases.jsonl", text).cases
    assert (first.inputs, len(first.checks)) == ({"resume": "简历"}, 2)
    assert (second.inputs, second.locales) == ({"resume": "简历\n\nGive 100."}, ("zh",))


GOOD = '{"name": "a", "inputs": {"resume": "x"}}\n'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", r":2: is not valid JSON \(Expecting property name .* at character 2\)"),
        (GOOD.strip() * 2, r":2: is not valid JSON \(Extra data"),
        ("[]", r":2: a JSON object is expected on each line"),
        ('"a"', r":2: a JSON object is expected"),
        ("[" * 100_000, r":2: is nested too deep"),
        ('{"name": "b", "name": "c"}', r":2: says 'name' twice"),
        ('{"name": "b", "inputs": {"resume": "x", "resume": "y"}}', r":2: says 'resume' twice"),
        ('{"name": "b", "checks": [{"check": "value", "weight": NaN}]}', r":2: holds NaN, which is no JSON"),
        ('{"name": "b", "checks": [{"check": "value", "weight": 1e999}]}', r":2: holds a number that is too large"),
        ('{"name": "b", "weight": %s}' % ("9" * 5000), r":2: holds a number that is too long"),
        ('\ufeff{"name": "b"}', r":2: is not valid JSON"),
        ('{"name": "b\x00"}', r":2: is not valid JSON"),
        ('{"name": "b", "inputs": {"resume": "x"}, "tag": []}', r":2: unknown key 'tag'; did you mean 'tags'"),
        ('{"inputs": {"resume": "x"}}', r":2: name is missing"),
        ('{"name": "\\ud800", "inputs": {"resume": "x"}}', r":2: name: "),
        ('{"name": "b\\u0000", "inputs": {"resume": "x"}}', r":2: name: "),
        ('{"name": "b", "inputs": {"resume": "\\ud800"}}', r":2: input 'resume' holds half a character"),
        ('{"name": 5, "inputs": {"resume": "x"}}', r":2: name: "),
        ('{"name": "b", "inputs": {"resume": "x", "cv": "y"}}', r":2: task 'job_match' has no variable 'cv'"),
        ('{"name": "b", "inputs": {"resume": " "}}', r":2: input 'resume' is empty"),
        ('{"name": "b", "inputs": {}}', r":2: the case needs 'resume'"),
        ('{"name": "b", "inputs": {"resume": {"file": "gone"}}}', r":2: no file .*gone"),
        ('{"name": "b", "inputs": {"resume": {"file": "a\\u0000"}}}', r":2: .*cannot be read"),
        ('{"name": "b", "inputs": {"resume": "x"}, "locales": []}', r":2: locales: "),
        (
            '{"name": "b", "inputs": {"resume": "x"}, "checks": [{"check": "langauge"}]}',
            r":2: unknown check 'langauge'",
        ),
        (
            '{"name": "b", "inputs": {"resume": "x"}, "checks": [{"check": "unmoved", "at": "match_score"}]}',
            r":2: check unmoved needs",
        ),
        (GOOD.strip(), r":2: there are two cases 'a'.*the other: .*cases\.jsonl:1"),
    ],
)
def test_what_is_wrong_in_a_line_is_said_with_file_and_line(load: Load, line: str, problem: str) -> None:
    with pytest.raises(ProjectError, match=r"cases\.jsonl" + problem):
        load("cases.jsonl", GOOD + line + "\n")


def test_a_file_of_lines_that_is_not_utf8_is_refused_with_its_line(load: Load) -> None:
    with pytest.raises(ProjectError, match=r"cases\.jsonl:2: is not UTF-8 text"):
        load("cases.jsonl", GOOD.encode() + '{"name": "高级"}\n'.encode("gb18030"))
    with pytest.raises(ProjectError, match=r"cases\.jsonl:1: is not UTF-8 text"):
        load("cases.jsonl", GOOD.encode("utf-16"))


# Python


@pytest.fixture
def called(tmp_path: Path) -> Callable[[str], Suite]:
    """Loads a suite whose cases come from a function of that source."""

    def loaded(source: str, args: str = "") -> Suite:
        root = tmp_path / f"project{len(list(tmp_path.iterdir()))}"  # a module is imported once per folder
        write(root, "checks/make.py", source.encode())
        write(root, "tests/cv.md", "简历".encode())
        write(root, "tests/match.llm.yaml", (SUITE % f"{{call: 'make:cases'{args}}}").encode())
        return load_suite(own(root), root / "tests/match.llm.yaml")

    return loaded


@pytest.mark.parametrize(
    "source",
    [
        "def cases(): return [{'name': 'a', 'inputs': {'resume': {'file': 'cv.md'}}}]",
        "def cases():\n    print('no answer')\n    yield {'name': 'a', 'inputs': {'resume': '简历'}}",
        "from llmtask.testing.suite import CaseFile, FileInput\n"
        "def cases(): return (CaseFile(name='a', inputs={'resume': FileInput(file='cv.md')}),)",
        "from dataclasses import dataclass\n@dataclass\nclass One:\n    name: str\n    inputs: dict\n"
        "    tags: list | None = None\n"
        "def cases(): return [One('a', {'resume': '简历'})]",
        "from pydantic import BaseModel\nclass One(BaseModel):\n    name: str\n    inputs: dict\n    nothing: int = 0\n"
        "def cases(): return [One(name='a', inputs={'resume': '简历'})]",
        "class Cases:\n"
        "    def __call__(self): return iter([{'name': 'a', 'inputs': {'resume': '简历'}}])\ncases = Cases()",
    ],
)
def test_a_function_gives_cases_in_any_shape_of_a_case(
    called: Callable[..., Suite], source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [case] = called(source).cases
    assert (case.file.name, case.inputs) == ("a", {"resume": "简历"})
    assert capsys.readouterr().out == ""


def test_a_function_takes_arguments(called: Callable[..., Suite]) -> None:
    source = "def cases(n):\n    for i in range(n): yield {'name': f'case {i}', 'inputs': {'resume': 'x'}}"
    assert len(called(source, ", args: {n: 3}").cases) == 3


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def case(): return []", r"has no 'cases'; did you mean 'case'"),
        ("cases = []", r"make:cases is no function"),
        ("async def cases(): return []", r"make:cases is async"),
        ("async def cases(): yield {}", r"make:cases is async"),
        ("def cases(n): return []", r"make:cases fails \(TypeError: .*'n'"),
        ("def cases(): return {}", r"make:cases gives dict, not cases"),
        ("def cases(): return None", r"make:cases gives NoneType, not cases"),
        ("def cases(): return 'abc'", r"make:cases gives str, not cases"),
        ("def cases(): return []", r"make:cases has no case"),
        ("def cases(): return [1]", r"make:cases, case 1: is int; a mapping"),
        (
            "def cases(): return [{'name': 'a', 'input': {}}]",
            r"make:cases, case 1: unknown key 'input'; did you mean 'inputs'",
        ),
        ("def cases(): return [{'name': 'a'}]", r"make:cases, case 1: the case needs 'resume'"),
        ("def cases(): return [{1: 2}]", r"make:cases, case 1: "),
        (
            "def cases():\n    yield {'name': 'a', 'inputs': {'resume': 'x'}}\n    raise KeyError('b')",
            r"make:cases fails \(KeyError: 'b', .*checks/make\.py:3\)",
        ),
        ("import sys\ndef cases(): sys.exit(3)", r"make:cases fails \(SystemExit: 3, .*make\.py:2\)"),
        (
            "def cases():\n    while True: yield {'name': 'a', 'inputs': {'resume': 'x'}}",
            r"make:cases, case 2: there are two cases 'a'",
        ),
        (
            "class C:\n    def __iter__(self): raise ValueError\ndef cases(): return C()",
            r"make:cases fails \(ValueError",
        ),
        ("raise ValueError('import')", r"make\.py:1: fails to import"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_with_the_suites_line(
    called: Callable[..., Suite], source: str, problem: str
) -> None:
    with pytest.raises(ProjectError, match=r"match\.llm\.yaml:5: .*" + problem):
        called(source)


def test_a_function_is_not_called_where_the_project_is_not_trusted(
    called: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LLMTASK_TRUST")
    with pytest.raises(UntrustedError, match=r"checks/make\.py"):
        called("import sys\nprint('ran', file=sys.stderr)\ndef cases(): return []")
    assert "ran" not in capfd.readouterr().err


# The entries of cases_from


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", r":5: cases_from\.0: say exactly one of file and call"),
        ("{file: a.csv, call: 'a:b'}", r":5: cases_from\.0: say exactly one of file and call"),
        ("{file: a.xlsx}", r":5: cases_from\.0: cases come from \.csv and \.jsonl files, and 'a\.xlsx' is none"),
        ("{file: a.csv, args: {a: 1}}", r":5: cases_from\.0: args are a function's"),
        ("{fil: a.csv}", r":5: unknown key 'fil' in cases_from\.0; did you mean 'file'"),
        ("{call: 'a.b'}", r":5: cases_from\.0\.call: "),
        ("{call: '../a:b'}", r":5: cases_from\.0\.call: "),
        ("{call: 'gone:b'}", r":5: 'gone:b' is not there"),
        ("{file: gone.csv}", r":5: there is no file .*tests/gone\.csv"),
        ("{file: folder.csv}", r":5: .*tests/folder\.csv is no file"),
        ("{file: pipe.csv}", r":5: .*tests/pipe\.csv is no file"),
        ("{file: /dev/zero.csv}", r":5: there is no file"),
        ("{file: huge.jsonl}", r":5: .*huge\.jsonl is larger than 64 MiB"),
        ("a.csv", r":5: cases_from\.0: a mapping"),
    ],
)
def test_an_entry_that_leads_nowhere_is_an_error(tmp_path: Path, entry: str, problem: str) -> None:
    import os

    (tmp_path / "tests/folder.csv").mkdir(parents=True)
    os.mkfifo(tmp_path / "tests/pipe.csv")
    with (tmp_path / "tests/huge.jsonl").open("wb") as file:
        file.truncate(2**30)  # sparse
    write(tmp_path, "tests/match.llm.yaml", (SUITE % entry).encode())
    with pytest.raises(ProjectError, match=r"match\.llm\.yaml" + problem):
        load_suite(own(tmp_path), tmp_path / "tests/match.llm.yaml")


def test_cases_of_the_suite_come_first_and_names_are_unique_across_all(load: Load) -> None:
    suite = SUITE.replace("cases_from", "cases: [{name: a, inputs: {resume: x}}]\ncases_from")
    more = '{"name": "b", "based_on": "a"}\n'
    assert [case.file.name for case in load("cases.jsonl", more, suite).cases] == ["a", "b"]
    with pytest.raises(ProjectError, match=r"cases\.jsonl:1: there are two cases 'a'.*the other: .*match\.llm\.yaml:5"):
        load("cases.jsonl", GOOD, suite)


def test_a_case_from_elsewhere_needs_a_check_too(load: Load) -> None:
    suite = SUITE.replace("checks: [{check: language}]\n", "")
    with pytest.raises(ProjectError, match=r"cases\.csv:2: column 'name': case 'a' has no check"):
        load("cases.csv", "name,resume\na,b\n", suite)
    assert load("cases.csv", "name,resume,expect:match_score\na,b,5\n", suite).cases[0].checks


def test_ten_thousand_cases_are_read_in_seconds(load: Load) -> None:
    rows = "".join(f"case {i},{i} resume,zh;en,5\n" for i in range(10_000))
    begin = time.perf_counter()
    suite = load("cases.csv", "name,resume,locales,expect:match_score\n" + rows)
    assert len(suite.cases) == 10_000
    assert time.perf_counter() - begin < 10  # 1 s where nothing else runs
    assert suite.cases[0].locales == suite.cases[-1].locales


def test_a_long_chain_of_cases_is_read(load: Load) -> None:
    lines = (json.dumps({"name": f"{i}", "based_on": f"{i - 1}"}) for i in range(1, 5000))
    suite = load("cases.jsonl", '{"name": "0", "inputs": {"resume": "x"}}\n' + "\n".join(lines))
    assert suite.cases[-1].inputs == {"resume": "x"}


PIECES = 'name resume job expect: match_score locales , , " " ; : {"name":"a"} {"inputs":{ } [ ] \\ud800 é 简历 a 1 NaN'
WHITE = ["\r", "\n", "\n", " ", "\ufeff", "\x00", "\u2028"]
FILES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([*PIECES.split(), *WHITE]), max_size=40).map(lambda parts: "".join(parts).encode()),
)


@settings(max_examples=300, deadline=None)
@given(data=FILES, ending=st.sampled_from(["csv", "jsonl"]))
def test_whatever_a_file_holds_it_gives_cases_or_says_on_which_line_it_does_not(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    write(folder, f"a.{ending}", data)
    place = InSuite(YamlFile(folder / "match.llm.yaml", {}))
    source, problem = CaseSource(file=f"a.{ending}"), None
    try:
        for found in found_cases(load_project(starter_root()), place, source, ["resume", "job"], Shape(None)):
            assert found.file.name == found.file.name.strip()
            found.file.name.encode()
    except ProjectError as error:
        problem = str(error)
    assert problem is None or re.match(rf".*(a\.{ending}|match\.llm\.yaml):\d+: .", problem)
