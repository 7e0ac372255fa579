"""project: finding it, merging it with the starter, and checking that its parts fit together."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llmtask.commands.schema import FILE_KINDS, file_schema
from llmtask.errors import ProjectError, UsageError
from llmtask.project import Project, load_project, starter_root
from llmtask.project.load import merge
from tests.conftest import MakeProject


def write(folder: Path, text: str = "defaults: {locale: en}\n", name: str = "config.yaml") -> Path:
    """A file in a folder that is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


# Which project


def test_without_a_project_the_starter_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_project().is_starter
    assert load_project().root == starter_root()


def test_the_nearest_config_at_or_above_the_working_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    inner = write(tmp_path / "a" / "b")
    (inner / "c" / "d").mkdir(parents=True)
    monkeypatch.chdir(inner / "c" / "d")
    assert load_project().root == inner
    monkeypatch.chdir(tmp_path / "a")
    assert load_project().root == tmp_path
    assert not load_project().is_starter


def test_the_variable_names_a_project_and_the_argument_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, named, given = (write(tmp_path / name) for name in ("near", "named", "given"))
    monkeypatch.chdir(near)
    monkeypatch.setenv("LLMTASK_PROJECT", str(named))
    assert load_project().root == named
    assert load_project(given).root == given
    assert load_project(str(given)).root == given
    monkeypatch.setenv("LLMTASK_PROJECT", "")
    assert load_project().root == near


def test_a_named_folder_without_a_config_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"no config\.yaml in .*; `llmtask init .*` makes a project there"):
        load_project(tmp_path)
    monkeypatch.setenv("LLMTASK_PROJECT", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"no config\.yaml in .*gone"):
        load_project()


def test_the_config_of_another_tool_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    other = write(tmp_path / "site", "theme: dark\nplugins: [search]\n")
    monkeypatch.chdir(other)
    assert load_project().root == tmp_path


def test_a_config_beside_a_prompts_folder_is_ours_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts").mkdir()
    write(tmp_path, "theme: dark\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=r"config\.yaml:1: unknown key 'theme'"):
        load_project()


def test_a_broken_config_in_the_working_folder_is_reported_and_one_above_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a: [\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match="is not valid YAML"):
        load_project()
    monkeypatch.chdir(tmp_path / "below")
    assert load_project().is_starter


# Merging


def test_a_user_config_states_only_what_differs(project: MakeProject, starter: Project) -> None:
    own = project("providers: {deepseek: {base_url: http://127.0.0.1:8000/v1}}").config
    assert own.providers["deepseek"].base_url == "http://127.0.0.1:8000/v1"
    assert own.providers["deepseek"].api_key_env == ("DEEPSEEK_API_KEY",)
    assert own.model_copy(update={"providers": {}}) == starter.config.model_copy(update={"providers": {}})
    assert set(own.providers) == set(starter.config.providers)


def test_an_empty_config_is_the_starters(project: MakeProject, starter: Project) -> None:
    assert project("").config == starter.config


@pytest.mark.parametrize(
    ("over", "merged"),
    [
        ({}, {"a": {"x": 1, "y": [1, 2]}, "b": 3}),
        ({"a": {"x": 2}}, {"a": {"x": 2, "y": [1, 2]}, "b": 3}),
        ({"a": {"y": [9]}}, {"a": {"x": 1, "y": [9]}, "b": 3}),
        ({"a": {"x": None}}, {"a": {"y": [1, 2]}, "b": 3}),
        ({"a": None}, {"b": 3}),
        ({"a": 5}, {"a": 5, "b": 3}),
        ({"b": {"deep": 1}}, {"a": {"x": 1, "y": [1, 2]}, "b": {"deep": 1}}),
        ({"c": {"new": 1}}, {"a": {"x": 1, "y": [1, 2]}, "b": 3, "c": {"new": 1}}),
        ({"gone": None}, {"a": {"x": 1, "y": [1, 2]}, "b": 3}),
    ],
)
def test_mappings_merge_null_removes_and_all_else_replaces(over: dict[str, Any], merged: dict[str, Any]) -> None:
    under = {"a": {"x": 1, "y": [1, 2]}, "b": 3}
    assert merge(under, over) == merged
    assert under == {"a": {"x": 1, "y": [1, 2]}, "b": 3}


def test_null_removes_an_entry_of_the_starters(project: MakeProject) -> None:
    assert "ollama" not in project("providers: {ollama: null}").config.providers


def test_a_list_replaces_the_starters(project: MakeProject) -> None:
    own = project("providers: {zhipu: {api_key_env: [MY_KEY]}}")
    assert own.config.providers["zhipu"].api_key_env == ("MY_KEY",)


def test_codes_and_statuses_may_be_written_as_numbers(project: MakeProject) -> None:
    own = project("failures: {http: {429: overloaded}}\nproviders: {zhipu: {failures: {code: {1113: rate_limited}}}}")
    assert own.config.failures.http["429"] == "overloaded"
    assert own.config.providers["zhipu"].failures.code["1113"] == "rate_limited"


# What is refused, with file, line and the way out

REFUSED = {
    "unknown key": (
        "defaults:\n  locale: en\n  timeout: 3\n",
        "config.yaml:3: unknown key 'timeout' in defaults; did you mean 'timeouts'?",
    ),
    "unknown model in a route": (
        "routes:\n  job_match:\n    paid:\n      model: deepseek-chatt\n",
        "config.yaml:4: unknown model 'deepseek-chatt' in routes.job_match.paid; did you mean 'deepseek-chat'?",
    ),
    "unknown model in a vision route": (
        "routes:\n  job_match:\n    vision: {free: {model: glm}}\n",
        "config.yaml:3: unknown model 'glm' in routes.job_match.vision.free",
    ),
    "unknown model for reasoning": (
        "routes:\n  job_match:\n    reasoning: {model: deepseek-reasonerr}\n",
        "config.yaml:3: unknown model 'deepseek-reasonerr' in routes.job_match.reasoning; did you mean",
    ),
    "unknown queue in a route": (
        "routes:\n  job_match: {worker: stream}\n\n  x: {paid: {model: offline, queue: q_glm_flas}}\n",
        "config.yaml:4: unknown queue 'q_glm_flas' in routes.x.paid; did you mean 'q_glm_flash'?",
    ),
    "unknown provider": (
        "models:\n  m: {provider: deepsek, name: x, context: 1}\n",
        "config.yaml:2: unknown provider 'deepsek' in models.m; did you mean 'deepseek'?",
    ),
    "unknown price": (
        "models:\n  offline: {price: ofline}\n",
        "config.yaml:2: unknown price 'ofline' in models.offline; did you mean 'offline'?",
    ),
    "unknown queue of a model": (
        "models:\n  offline: {queue: q_glm_flas}\n",
        "config.yaml:2: unknown queue 'q_glm_flas' in models.offline; did you mean 'q_glm_flash'?",
    ),
    "unknown schedule": (
        "prices:\n  p:\n    - {effective_from: 2026-01-01, lists: {}, peak: deepseek_peek}\n",
        "config.yaml:3: unknown schedule 'deepseek_peek' in prices.p.0; did you mean 'deepseek_peak'?",
    ),
    "duplicate key": (
        "defaults:\n  locale: en\n  locale: zh\n",
        "config.yaml:3: 'locale' is said twice in the same mapping; keep one",
    ),
    "wrong type": (
        "queues:\n  q_glm_flash: {concurrency: lots}\n",
        "config.yaml:2: queues.q_glm_flash.concurrency: input should be a valid integer",
    ),
    "wrong choice": (
        "providers:\n  zhipu:\n    driver: openapi\n",
        "config.yaml:3: providers.zhipu.driver: input should be 'openai', 'langchain' or 'offline', got 'openapi'",
    ),
    "not a URL": (
        "providers: {zhipu: {base_url: localhost}}\n",
        "config.yaml:1: providers.zhipu.base_url: string should match pattern",
    ),
    "YAML syntax": ("defaults: {locale: en\n", "config.yaml:2: is not valid YAML"),
    "no mapping": ("- defaults\n", "config.yaml:1: a mapping is expected here"),
    "alias bomb": ("a: &a {b: *a}\n", "config.yaml:1: expands to more than 100 levels; remove the nested aliases"),
    "langchain without a class": (
        "providers:\n  mine: {driver: langchain}\n",
        "config.yaml:2: providers.mine has driver langchain and needs `class: package.module.Class`",
    ),
    "openai without a URL": (
        "providers:\n  mine: {}\n",
        "config.yaml:2: providers.mine has driver openai and needs `base_url: https://...`",
    ),
    "a time zone that is none": (
        "schedules:\n  deepseek_peak: {timezone: Asia/Shangai}\n",
        "config.yaml:2: schedules.deepseek_peak.timezone: no such time zone; give an IANA name",
    ),
    "an hour that is none": (
        "schedules:\n  deepseek_peak: {hours: ['09:00-25:00']}\n",
        "config.yaml:2: schedules.deepseek_peak.hours.0: string should match pattern",
    ),
    "hours over midnight": (
        "schedules:\n  deepseek_peak: {hours: ['22:00-02:00']}\n",
        "config.yaml:2: schedules.deepseek_peak.hours.0: a span ends later on the same day",
    ),
    "a failure class that is none": (
        "failures: {http: {'418': teapot}}\n",
        "config.yaml:1: failures.http.418: input should be 'blank'",
    ),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_config_is_refused_with_file_line_and_the_way_out(
    project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ProjectError) as caught:
        project(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_what_a_removal_leaves_dangling_is_named_where_it_stands(project: MakeProject) -> None:
    with pytest.raises(ProjectError) as caught:
        project("models: {glm-4.5-flash: null}\n")
    where, said = str(caught.value).split(": ", 1)
    path, line = where.rsplit(":", 1)
    assert said.startswith("unknown model 'glm-4.5-flash' in routes.*.free")
    assert Path(path).resolve() == starter_root() / "config.yaml"
    assert "glm-4.5-flash" in (starter_root() / "config.yaml").read_text(encoding="utf-8").splitlines()[int(line) - 1]


# Models, tasks, files


def test_a_task_is_known_by_its_name_and_its_alias(starter: Project) -> None:
    assert starter.task_id("job_match") == "job_match"
    assert starter.task_id("resume_detailed_summary") == "detailed_resume_summary"
    with pytest.raises(UsageError, match="unknown task 'job_mtch'; did you mean 'job_match'"):
        starter.task_id("job_mtch")


def test_a_listed_model_carries_what_the_vendor_calls_it_today(starter: Project) -> None:
    names = {model_id: (model.name, model.thinking) for model_id, model in starter.config.models.items()}
    assert names["deepseek-chat"] == ("deepseek-flash", "disabled")
    assert names["deepseek-reasoner"] == ("deepseek-flash", "enabled")
    assert names["glm-4.5-flash"] == ("glm-4.7-flash", "disabled")


def test_a_slash_reaches_a_model_that_is_not_listed(starter: Project) -> None:
    model = starter.model("ollama/qwen3:8b")
    assert (model.provider, model.name, model.structured, model.price) == ("ollama", "qwen3:8b", "json_schema", None)
    assert starter.provider_of("ollama/qwen3:8b").base_url == "http://127.0.0.1:11434/v1"
    assert starter.model("deepseek/org/name").name == "org/name"


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        ("deepseek-chatt", "unknown model 'deepseek-chatt'; did you mean 'deepseek-chat'?"),
        ("olama/x", "unknown provider 'olama'; did you mean 'ollama'?"),
        ("offline/x", "provider 'offline' serves listed models only; add 'x' under `models:` in config.yaml"),
        ("deepseek/", "unknown model 'deepseek/'"),
    ],
)
def test_an_unknown_model_is_refused_with_the_way_out(starter: Project, model_id: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        starter.model(model_id)
    assert str(caught.value).startswith(said)


def test_a_file_of_the_project_goes_before_the_starters(project: MakeProject) -> None:
    own = project("", {"prompts/zh/job_match.yaml": "x"})
    assert own.find("prompts", "zh/job_match.yaml") == own.root / "prompts/zh/job_match.yaml"
    assert own.find("prompts", "en/job_match.yaml") == starter_root() / "prompts/en/job_match.yaml"
    assert own.find("prompts", "en/gone.yaml") is None


def test_a_locale_is_a_folder_of_prompts(project: MakeProject, starter: Project) -> None:
    assert starter.locales == ("en", "zh")
    assert project("", {"prompts/ja/job_match.yaml": "x"}).locales == ("en", "ja", "zh")


# The published JSON Schemas


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_published_schema_is_the_one_of_the_model(kind: str) -> None:
    published = starter_root() / "schemas" / f"{kind}.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == file_schema(kind)


FILES = [
    ("config", starter_root() / "config.yaml"),
    *(("locale", path) for path in sorted(starter_root().glob("prompts/*/_locale.yaml"))),
    *(("prompt", path) for path in sorted(starter_root().glob("prompts/*/[a-z]*.yaml"))),
]


@pytest.mark.parametrize(("kind", "path"), FILES, ids=[str(path.relative_to(starter_root())) for _, path in FILES])
def test_every_file_of_the_starter_fits_its_schema_and_points_at_it(kind: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    plain = json.loads(json.dumps(yaml.safe_load(text), default=str))
    jsonschema.validate(plain, file_schema(kind))
    mark = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / mark).resolve() == starter_root() / "schemas" / f"{kind}.schema.json"


def test_a_config_that_states_one_thing_fits_the_schema() -> None:
    jsonschema.validate({"providers": {"deepseek": {"base_url": "http://127.0.0.1:8000/v1"}}}, file_schema("config"))


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_a_schema_refuses_unknown_keys(kind: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match="provider_"):
        jsonschema.validate({"provider_": {}}, file_schema(kind))
