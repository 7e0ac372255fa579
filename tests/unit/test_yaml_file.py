"""project.yaml_file: a YAML file that knows its lines, and says what is wrong with it."""

from pathlib import Path

import pytest

from llmtask.errors import ProjectError
from llmtask.project.config import Config, Strict
from llmtask.project.yaml_file import parse_yaml, read_yaml, shown

FILE = Path("x.yaml")


class Box(Strict):
    """What a shelf holds."""

    concurrency: int


class Shelf(Strict):
    """A small file."""

    q: Box


def refusal(text: str) -> str:
    """What is said about a text that is refused."""
    with pytest.raises(ProjectError) as caught:
        parse_yaml(text, FILE)
    return str(caught.value)


def test_every_value_is_found_on_its_line() -> None:
    file = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", FILE)
    assert file.data == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert file.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "y"): 5,
    }


def test_a_value_that_is_not_there_stands_where_the_nearest_around_it_does() -> None:
    file = parse_yaml("# comment\na:\n  b: 1\n", FILE)
    assert file.line_of(("a", "b", "c")) == 3
    assert file.line_of(("a", "z")) == 2
    assert file.line_of(("z",)) is None
    assert str(file.error(("z",), "gone")) == "x.yaml:1: gone"


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, FILE).data == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1, 2\n", "x.yaml:3: is not valid YAML ("),
        ("a: 1\n\tb: 2\n", "x.yaml:2: is not valid YAML ("),
        (
            "a:\n\t- b\n",
            "x.yaml:2: is not valid YAML (found character that cannot start any token); indent with spaces",
        ),
        ("a: b: c\n", "x.yaml:1: is not valid YAML (mapping values are not allowed in this context); put a text that"),
        ("a: *nowhere\n", "x.yaml:1: is not valid YAML (found undefined alias"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: is not valid YAML ("),
        ("{[1]: 2}\n", "x.yaml:1: is not valid YAML (found unhashable key)"),
        ("a: !!python/object/apply:os.system [ls]\n", "x.yaml:1: is not valid YAML (could not determine a constructor"),
    ],
)
def test_a_syntax_error_names_file_and_line(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


def test_a_control_character_is_reported_in_one_line() -> None:
    message = refusal("a: \x00\n")
    assert "is not valid YAML" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "42\n"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text) == "x.yaml:1: a mapping is expected here (`key: value` lines)"


def test_a_key_said_twice_is_refused_at_its_second_line() -> None:
    message = refusal("defaults:\n  locale: zh\n  tier: free\n  locale: en\n")
    assert message == "x.yaml:4: 'locale' is said twice in the same mapping; keep one"


def test_the_same_key_in_two_mappings_is_fine() -> None:
    assert parse_yaml("a: {name: 1}\nb: {name: 2}\n", FILE).data == {"a": {"name": 1}, "b": {"name": 2}}


def test_merge_keys_and_aliases_work() -> None:
    text = "base: &base {x: 1}\nother: &other {z: 3}\none:\n  <<: *base\n  <<: *other\n  y: 2\n"
    assert parse_yaml(text, FILE).data["one"] == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (
            "".join(
                f"{name}: &{name} [{', '.join([inner] * 10)}]\n"
                for name, inner in zip("abcde", ["1", *["*a", "*b", "*c", "*d"]], strict=True)
            ),
            "50000 values",
        ),
        ("a: &a\n  b: *a\n", "100 levels"),
    ],
    ids=["billion laughs", "alias of itself"],
)
def test_an_alias_bomb_is_refused_with_its_line(text: str, size: str) -> None:
    file, line, said = refusal(text).split(":", 2)
    assert (file, said) == ("x.yaml", f" expands to more than {size}; remove the nested aliases")
    assert 1 <= int(line) <= text.count("\n")


def test_a_date_that_is_none_is_refused() -> None:
    assert "month must be in 1..12" in refusal("a: 2026-13-01\n")


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufefflanguage: 简体中文\n".encode())
    assert read_yaml(path).data == {"language": "简体中文"}


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("language: 简体中文\n".encode("gb18030"))
    with pytest.raises(ProjectError, match=r"a\.yaml: is not UTF-8 text; save it as UTF-8"):
        read_yaml(path)


def test_a_file_that_cannot_be_read_is_an_error_of_the_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"cannot be read \(No such file or directory\)"):
        read_yaml(tmp_path / "gone.yaml")
    with pytest.raises(ProjectError, match=r"cannot be read \(Is a directory\)"):
        read_yaml(tmp_path)


def test_paths_are_shown_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b.yaml") == "a/b.yaml"
    assert shown(Path("/elsewhere/b.yaml")) == "/elsewhere/b.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("provider: {}\n", "x.yaml:1: unknown key 'provider'; did you mean 'providers'?"),
        (
            "\nproviders:\n  mine:\n    base_ulr: http://a\n",
            "x.yaml:4: unknown key 'base_ulr' in providers.mine; did you mean 'base_url'?",
        ),
        (
            "defaults: {timeouts: {idle: 3}}\n",
            "x.yaml:1: unknown key 'idle' in defaults.timeouts; did you mean 'idle_s'?",
        ),
        (
            "routes:\n  a:\n    vision:\n      payed: {model: m}\n",
            "x.yaml:4: unknown key 'payed' in routes.a.vision; did you mean 'paid'?",
        ),
        (
            "prices:\n  p:\n    - effective_from: 2026-01-01\n      lists: {}\n      sources: x\n",
            "x.yaml:5: unknown key 'sources' in prices.p.0; did you mean 'source'?",
        ),
    ],
)
def test_an_unknown_key_is_named_with_line_place_and_suggestion(text: str, said: str) -> None:
    with pytest.raises(ProjectError) as caught:
        parse_yaml(text, FILE).validate_as(Config)
    assert said in str(caught.value)


def test_a_misspelt_key_is_named_and_not_the_one_that_it_was_meant_to_be() -> None:
    with pytest.raises(ProjectError, match=r"x\.yaml:2: unknown key 'providr' in models\.m; did you mean 'provider'"):
        parse_yaml("models:\n  m: {providr: p, name: n, context: 1}\n", FILE).validate_as(Config)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ProjectError, match=r"x\.yaml:2: q\.concurrency is missing"):
        parse_yaml("\nq: {}\n", FILE).validate_as(Shelf)


def test_a_wrong_type_is_named_with_what_was_given() -> None:
    with pytest.raises(ProjectError, match=r"x\.yaml:2: q\.concurrency: input should be .*, got 'many'"):
        parse_yaml("q:\n  concurrency: many\n", FILE).validate_as(Shelf)
