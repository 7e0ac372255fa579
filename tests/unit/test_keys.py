"""providers.keys: a provider's key comes from its own variables alone, and is never shown."""

import os
from pathlib import Path

import pytest

from llmtask.errors import KeyMissingError, ProjectError
from llmtask.project import Project
from llmtask.providers import Key, find_key, require_key
from tests.conftest import MakeProject

SECRET = "sk-canary-0123456789"


def test_a_key_is_found_in_the_environment_and_says_where(starter: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", f" {SECRET}\n")
    assert find_key(starter, "deepseek") == Key(SECRET, "DEEPSEEK_API_KEY")
    assert require_key(starter, "deepseek") == SECRET


def test_a_key_is_found_in_the_dotenv_beside_the_config(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    own = project("", {".env": f"# keys\nexport DEEPSEEK_API_KEY='{SECRET}'\n"})
    monkeypatch.chdir(own.root)
    assert find_key(own, "deepseek") == Key(SECRET, "DEEPSEEK_API_KEY in .env")
    assert "DEEPSEEK_API_KEY" not in os.environ


def test_a_dotenv_somewhere_else_is_not_read(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"DEEPSEEK_API_KEY={SECRET}\n", encoding="utf-8")
    own = project("")
    (own.root / "below").mkdir()
    (own.root / "below" / ".env").write_text(f"DEEPSEEK_API_KEY={SECRET}\n", encoding="utf-8")
    monkeypatch.chdir(own.root / "below")
    assert find_key(own, "deepseek") is None


def test_the_environment_goes_before_the_dotenv(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    own = project("", {".env": "ZHIPU_API_KEY=file\n"})
    monkeypatch.setenv("ZHIPUAI_API_KEY", "environment")
    assert find_key(own, "zhipu") == Key("environment", "ZHIPUAI_API_KEY")


def test_the_first_variable_of_a_provider_goes_before_its_second(
    project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = project("", {".env": "ZHIPUAI_API_KEY=second\nZHIPU_API_KEY=first\n"})
    found = find_key(own, "zhipu")
    assert found is not None
    assert found.value == "first"
    monkeypatch.setenv("ZHIPUAI_API_KEY", "second")
    monkeypatch.setenv("ZHIPU_API_KEY", "first")
    assert find_key(own, "zhipu") == Key("first", "ZHIPU_API_KEY")


@pytest.mark.parametrize("blank", ["", "   "])
def test_a_blank_variable_holds_no_key(project: MakeProject, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", blank)
    assert find_key(project("", {".env": "DEEPSEEK_API_KEY=\n"}), "deepseek") is None
    found = find_key(project("", {".env": f"DEEPSEEK_API_KEY={SECRET}\n"}), "deepseek")
    assert found is not None
    assert found.value == SECRET


@pytest.mark.parametrize("provider", ["deepseek", "zhipu"])
def test_the_openai_key_never_stands_in(project: MakeProject, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    own = project("", {".env": f"OPENAI_API_KEY={SECRET}\n"})
    assert find_key(own, provider) is None
    with pytest.raises(KeyMissingError):
        require_key(own, provider)


def test_another_providers_key_never_stands_in(starter: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    assert find_key(starter, "zhipu") is None


def test_a_provider_without_variables_needs_no_key(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    own = project("", {".env": f"DEEPSEEK_API_KEY={SECRET}\n"})
    assert [(find_key(own, name), require_key(own, name)) for name in ("ollama", "offline")] == [(None, "")] * 2


def test_a_missing_key_names_the_variables_and_the_three_ways_on(starter: Project) -> None:
    with pytest.raises(KeyMissingError) as caught:
        require_key(starter, "zhipu")
    assert str(caught.value) == (
        "no key for zhipu: set ZHIPU_API_KEY or ZHIPUAI_API_KEY "
        "(you can get one at https://open.bigmodel.cn/usercenter/apikeys), "
        "choose another model with --model, or try it without a key: --model offline"
    )


def test_a_key_is_never_shown() -> None:
    key = Key(SECRET, "DEEPSEEK_API_KEY")
    assert SECRET not in repr(key) + str(key) + f"{key}" + repr([key])
    assert repr(key) == "Key(source='DEEPSEEK_API_KEY')"


def test_a_value_in_the_dotenv_is_taken_as_it_stands(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/nobody")
    found = find_key(project("", {".env": "DEEPSEEK_API_KEY=a${HOME}b\n"}), "deepseek")
    assert found is not None
    assert found.value == "a${HOME}b"


def test_a_dotenv_with_a_byte_order_mark_is_read(project: MakeProject) -> None:
    found = find_key(project("", {".env": f"\ufeffDEEPSEEK_API_KEY={SECRET}\n"}), "deepseek")
    assert found is not None
    assert found.value == SECRET


def test_a_dotenv_that_is_not_utf_8_is_refused_without_showing_it(project: MakeProject) -> None:
    own = project("")
    (own.root / ".env").write_bytes(f"# 密钥\nDEEPSEEK_API_KEY={SECRET}\n".encode("gb18030"))
    with pytest.raises(
        ProjectError, match=r"\.env: cannot be read \(it is not UTF-8 text\); save it as UTF-8"
    ) as caught:
        find_key(own, "deepseek")
    assert SECRET not in str(caught.value)


def test_a_dotenv_that_is_a_folder_is_passed_over(project: MakeProject) -> None:
    own = project("")
    (own.root / ".env").mkdir()
    assert find_key(own, "deepseek") is None
