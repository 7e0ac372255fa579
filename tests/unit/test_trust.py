"""project.trust: what needs trust, what trust is given to, and that nothing is run or sent without it."""

import json
import py_compile
import stat
from importlib.util import cache_from_source
from pathlib import Path

import pytest

import llmtask
from llmtask.errors import ExitCode, ProjectError, UntrustedError
from llmtask.project import (
    Project,
    grant_trust,
    is_trusted,
    load_project,
    require_trust,
    revoke_trust,
    risks,
    starter_root,
    trust_always,
    why_trusted,
)
from llmtask.providers import find_key, get_model, reach, require_key
from llmtask.schemas import load_schema
from tests.conftest import MakeProject

EVIL = "http://evil.example/v1"
REDIRECTED = f"providers: {{deepseek: {{base_url: '{EVIL}'}}}}\n"
TASK = "tasks: {offer: {schema: 'offer:Offer'}}\n"
MARKED = "from pathlib import Path\n\nfrom pydantic import BaseModel\n\nPath({marker!r}).write_text('ran')\n"
OFFER = "\n\nclass Offer(BaseModel):\n    price: int\n"


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTASK_TRUST")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Where code that was run leaves its mark."""
    return tmp_path / "ran"


def marking(marker: Path) -> str:
    return MARKED.format(marker=str(marker)) + OFFER


def texts(project: Project) -> list[str]:
    return [risk.text for risk in risks(project)]


def again(project: Project) -> Project:
    return load_project(project.root)


def records(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "data/llmtask/trust").iterdir())


# What needs trust


def test_the_starter_needs_none(starter: Project) -> None:
    assert (risks(starter), why_trusted(starter)) == ((), "it is the starter")
    assert load_schema(starter, "job_match")
    require_trust(starter)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "defaults: {locale: en}\n",
        "tasks: {mine: {schema: 'job_match:JobMatch'}}\nroutes: {mine: {paid: {model: offline}}}\n",
        "models: {m: {provider: ollama, name: q, context: 9, extra_body: {a: 1}}}\nprices: {mine: []}\n",
        "providers: {sample: {driver: offline, base_url: 'http://evil.example'}, zhipu: {currency: USD}}\n",
        "providers: {ollama: {driver: openai, headers: {}, unlisted: null, failures: {http: {'418': blank}}}}\n",
        "providers: {deepseek: {base_url: 'https://api.deepseek.com/v1', api_key_env: [DEEPSEEK_API_KEY]}}\n",
    ],
)
def test_prompts_routes_prices_and_tasks_need_none(project: MakeProject, config: str) -> None:
    same = (starter_root() / "schemas/job_match.py").read_text(encoding="utf-8")
    prompt = (starter_root() / "prompts/zh/job_match.yaml").read_text(encoding="utf-8")
    own = project(
        config, {"schemas/job_match.py": same, "prompts/zh/mine.yaml": prompt, "bin/x.py": "exit()", ".env": ""}
    )
    assert (risks(own), why_trusted(own)) == ((), "nothing in it can do harm")


@pytest.mark.parametrize(
    ("provider", "text"),
    [
        (
            f"deepseek: {{base_url: '{EVIL}'}}",
            f"provider deepseek sends documents and DEEPSEEK_API_KEY to {EVIL} (the starter: https://api.deepseek.com/v1)",
        ),
        (
            "deepseek: {api_key_env: [AWS_SECRET_ACCESS_KEY, GITHUB_TOKEN]}",
            "provider deepseek sends documents and AWS_SECRET_ACCESS_KEY or GITHUB_TOKEN to https://api.deepseek.com/v1",
        ),
        (f"x: {{base_url: '{EVIL}'}}", f"provider x sends documents to {EVIL}"),
        (
            "ollama: {headers: {X-Team: a}}",
            "provider ollama sends documents to http://127.0.0.1:11434/v1, with headers of its own (X-Team)",
        ),
        (
            f"zhipu: {{key_url: '{EVIL}'}}",
            "provider zhipu sends documents and ZHIPU_API_KEY or ZHIPUAI_API_KEY to https://open.bigmodel.cn/api/paas/v4"
            f"; it names {EVIL} as where to get a key",
        ),
        (
            "x: {driver: langchain, class: subprocess.Popen, kwargs: {args: id}, api_key_env: [A]}",
            "provider x imports subprocess.Popen and gives it documents and A",
        ),
        (
            f"offline: {{driver: langchain, class: a.B, base_url: '{EVIL}'}}",
            f"provider offline imports a.B and gives it documents for {EVIL}",
        ),
    ],
)
def test_a_provider_of_its_own_needs_trust(project: MakeProject, provider: str, text: str) -> None:
    own = project(f"providers: {{{provider}}}\n")
    assert texts(own) == [text]
    assert not is_trusted(own)


@pytest.mark.parametrize("name", ["offer.py", "job_match.py", "pkg/__init__.py", "pkg/deep/x.py", ".hidden/x.py"])
def test_python_of_its_own_needs_trust(project: MakeProject, name: str) -> None:
    assert texts(project("", {f"schemas/{name}": "x = 1\n"})) == [f"schemas/{name} is Python code"]


def test_a_project_that_was_put_together_by_hand_is_no_starter(starter: Project, tmp_path: Path) -> None:
    assert len(risks(Project(tmp_path, starter.config))) == 3


def test_what_a_terminal_would_obey_or_turn_round_is_escaped(project: MakeProject) -> None:
    own = project('providers: {"a\\e[2K\\nb": {base_url: "http://evil.example/\\u202Ecba"}}\n')
    assert texts(own) == [r"provider 'a\x1b[2K\nb' sends documents to 'http://evil.example/\u202ecba'"]


@pytest.mark.parametrize("schema", ["../offer:Offer", "a/b:C", "a.b:C", "/etc/x:Y", "a:B\n", "..:X"])
def test_a_schema_is_a_file_of_the_folder_and_no_path(project: MakeProject, schema: str) -> None:
    with pytest.raises(ProjectError, match="schema"):
        project(f"tasks: {{offer: {{schema: {json.dumps(schema)}}}}}\n")


# Doors


def test_a_schema_is_not_imported_untrusted(project: MakeProject, marker: Path) -> None:
    own = project(TASK, {"schemas/offer.py": marking(marker)})
    with pytest.raises(UntrustedError) as caught:
        load_schema(own, "offer")
    assert str(caught.value) == (
        f"project {own.root} is not trusted: schemas/offer.py is Python code; look at it, then `llmtask trust`; "
        "or --trust for this once, or LLMTASK_TRUST=1"
    )
    assert caught.value.exit_code == ExitCode.PROJECT
    assert not marker.exists()
    assert load_schema(own, "job_match")  # the starter's


def test_a_package_in_a_schemas_place_is_not_imported_untrusted(project: MakeProject, marker: Path) -> None:
    same = (starter_root() / "schemas/job_match.py").read_text(encoding="utf-8")
    own = project("", {"schemas/job_match.py": same, "schemas/job_match/__init__.py": marking(marker)})
    assert next(iter(load_schema(own, "job_match").model_fields)) == "match_score"
    assert not marker.exists()


def test_bytecode_beside_the_source_is_never_run(project: MakeProject, marker: Path, tmp_path: Path) -> None:
    shown = "from .base import Base\n\n\nclass Offer(Base):\n    price: int\n"
    base = "from pydantic import BaseModel\n\n\nclass Base(BaseModel):\n    first: int\n"
    own = project(TASK, {"schemas/offer.py": shown, "schemas/base.py": base})
    (tmp_path / "hidden.py").write_text(marking(marker), encoding="utf-8")
    for name in ("offer", "base"):
        target = own.root / "schemas" / Path(cache_from_source(f"{name}.py"))
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(tmp_path / "hidden.py"), str(target), invalidation_mode=mode, doraise=True)
    assert list(load_schema(load_project(own.root, trust=True), "offer").model_fields) == ["first", "price"]
    assert not marker.exists()


def test_only_source_that_trust_covers_is_imported(project: MakeProject, marker: Path, tmp_path: Path) -> None:
    own = project(TASK, {"schemas/offer.py": "from .lib import x\n" + OFFER, "schemas/there.py": ""})
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/__init__.py").write_text(marking(marker), encoding="utf-8")
    (own.root / "schemas/lib").symlink_to(tmp_path / "lib")
    trusted = load_project(own.root, trust=True)
    with pytest.raises(ProjectError, match=r"schemas/offer\.py:1: fails to import"):
        load_schema(trusted, "offer")
    (own.root / "schemas/lib").unlink()
    py_compile.compile(str(tmp_path / "lib/__init__.py"), str(own.root / "schemas/lib.pyc"), doraise=True)
    with pytest.raises(ProjectError, match=r"schemas/offer\.py:1: fails to import"):
        load_schema(trusted, "offer")
    assert not marker.exists()


def test_a_schema_may_import_packages_beside_it(project: MakeProject) -> None:
    files = {
        "schemas/offer.py": "from pydantic import BaseModel\nfrom .pkg.sub import T\nfrom .loose.one import U\n"
        + OFFER,
        "schemas/pkg/__init__.py": "",
        "schemas/pkg/sub.py": "from ..base import T\n",
        "schemas/loose/one.py": "U = 1\n",
        "schemas/base.py": "T = 1\n",
    }
    assert load_schema(load_project(project(TASK, files).root, trust=True), "offer")


def test_no_key_of_a_redirected_provider_is_given_out(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    own = project(REDIRECTED)
    for door in (lambda: require_key(own, "deepseek"), lambda: get_model("deepseek-chat", project=own)):
        with pytest.raises(UntrustedError, match="provider deepseek sends documents and DEEPSEEK_API_KEY to"):
            door()
    with pytest.raises(UntrustedError):
        reach(own, "deepseek")
    assert find_key(own, "deepseek") is not None  # for doctor to say where it is
    assert require_key(own, "ollama") == ""  # the starter's providers are as good as ever


def test_an_untrusted_class_is_not_imported(
    project: MakeProject, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "models: {m: {provider: x, name: m, context: 9}}\n"
    own = project("providers: {x: {driver: langchain, class: stranger.Model}}\n" + model)
    (own.root / "stranger.py").write_text(marking(marker), encoding="utf-8")
    monkeypatch.syspath_prepend(own.root)
    with pytest.raises(UntrustedError, match=r"provider x imports stranger\.Model"):
        get_model("m", project=own)
    assert not marker.exists()
    with pytest.raises(ProjectError, match="stranger"):
        get_model("m", project=load_project(own.root, trust=True))
    assert marker.exists()


def test_the_refusal_names_what_is_about_to_be_used_and_counts_the_rest(project: MakeProject) -> None:
    config = f"{TASK}providers: {{a: {{base_url: '{EVIL}/a'}}, b: {{base_url: '{EVIL}/b'}}}}\n"
    own = project(config, {"schemas/offer.py": OFFER})
    with pytest.raises(UntrustedError, match=f"provider b sends documents to {EVIL}/b \\(and 2 more\\); look at it"):
        require_trust(own, "b")
    with pytest.raises(UntrustedError, match=r"schemas/offer\.py is Python code \(and 2 more\); look at it"):
        load_schema(own, "offer")


def test_the_library_refuses_as_the_command_line_does(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-canary")
    own = project(REDIRECTED)
    with pytest.raises(UntrustedError):
        llmtask.run_structured_task("job_match", {"resume": "r"}, project=own)
    with pytest.raises(UntrustedError):
        llmtask.run_streaming_task("job_match", {"resume": "r"}, project=own)
    assert llmtask.run_structured_task("job_match", {"resume": "r"}, project=own, model_id="offline").data


# Trust, given and taken


def test_trust_holds_until_the_content_changes(project: MakeProject) -> None:
    own = project(REDIRECTED, {"schemas/offer.py": OFFER})
    grant_trust(own, risks(own))
    assert why_trusted(again(own)) == "as it is now"
    prompt = own.root / "prompts/zh/x.yaml"
    prompt.parent.mkdir(parents=True)
    prompt.write_text("changed", encoding="utf-8")
    assert is_trusted(again(own))
    (own.root / "schemas/offer.py").write_text(OFFER + "# more\n", encoding="utf-8")
    assert not is_trusted(again(own))
    (own.root / "schemas/offer.py").write_text(OFFER, encoding="utf-8")
    assert is_trusted(again(own))
    (own.root / "config.yaml").write_text(REDIRECTED.replace("evil", "more-evil"), encoding="utf-8")
    assert not is_trusted(again(own))


def test_trust_is_given_to_what_was_shown(project: MakeProject) -> None:
    own = project(TASK, {"schemas/offer.py": OFFER})
    found = risks(own)
    (own.root / "schemas/offer.py").write_text("import evil\n", encoding="utf-8")
    grant_trust(own, found)
    assert not is_trusted(again(own))


def test_a_linked_schema_is_known_by_what_it_links_to(project: MakeProject, tmp_path: Path) -> None:
    own = project(TASK, {"schemas/there.py": "x = 1\n"})
    target = tmp_path / "elsewhere.txt"
    target.write_text(OFFER, encoding="utf-8")
    (own.root / "schemas/offer.py").symlink_to(target)
    grant_trust(own, risks(own))
    assert is_trusted(again(own))
    target.write_text("import evil\n", encoding="utf-8")
    assert not is_trusted(again(own))


def test_a_copied_or_moved_folder_is_not_trusted(project: MakeProject, tmp_path: Path) -> None:
    own = project(REDIRECTED)
    trust_always(own.root)
    assert is_trusted(again(own))
    moved = own.root.rename(tmp_path / "moved")
    assert not is_trusted(load_project(moved))


def test_a_link_to_a_folder_is_that_folder(project: MakeProject, tmp_path: Path) -> None:
    own = project(REDIRECTED)
    trust_always(own.root)
    (tmp_path / "link").symlink_to(own.root)
    assert is_trusted(load_project(tmp_path / "link"))


def test_ones_own_folder_is_trusted_whatever_it_holds_until_it_is_not(project: MakeProject) -> None:
    own = project("")
    trust_always(own.root)
    (own.root / "config.yaml").write_text(REDIRECTED, encoding="utf-8")
    assert why_trusted(again(own)) == "whatever it holds"
    assert revoke_trust(own)
    assert not is_trusted(again(own))
    assert not revoke_trust(own)


def test_the_record_is_its_owners_alone_and_nothing_is_left_beside_it(project: MakeProject, tmp_path: Path) -> None:
    own = project(REDIRECTED)
    grant_trust(own, risks(own))
    grant_trust(own, risks(own))
    [record] = records(tmp_path)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"always", b"always\n", b"\n\n", b"\xff\xfe\x00", b"{}\n/\n"])
def test_a_damaged_record_trusts_nothing_and_says_so(project: MakeProject, tmp_path: Path, damage: bytes) -> None:
    own = project(REDIRECTED)
    trust_always(own.root)
    [record] = records(tmp_path)
    record.write_bytes(damage)
    with pytest.raises(UntrustedError, match=f"{record}, which says whether it is trusted, is damaged"):
        require_key(again(own), "deepseek")
    trust_always(own.root)
    assert is_trusted(again(own))


def test_a_record_that_cannot_be_read_trusts_nothing_and_says_so(project: MakeProject, tmp_path: Path) -> None:
    own = project(REDIRECTED)
    trust_always(own.root)
    [record] = records(tmp_path)
    record.unlink()
    record.mkdir()
    with pytest.raises(UntrustedError, match="cannot be read: Is a directory"):
        require_key(again(own), "deepseek")
    with pytest.raises(ProjectError, match=r"cannot be written .*--trust trusts for this once"):
        trust_always(own.root)
    with pytest.raises(ProjectError, match=r"cannot be removed .*remove it by hand"):
        revoke_trust(own)
    assert records(tmp_path) == [record]


def test_the_record_of_another_folder_is_none(project: MakeProject, tmp_path: Path) -> None:
    own, other = project(REDIRECTED), project(REDIRECTED, folder="other")
    trust_always(own.root)
    [record] = records(tmp_path)
    content = record.read_bytes()
    trust_always(other.root)
    [its] = [path for path in records(tmp_path) if path != record]
    assert is_trusted(other)
    its.write_bytes(content)
    assert not is_trusted(other)


@pytest.mark.parametrize(("value", "trusted"), [("1", True), ("0", False), ("", False), ("no", False)])
def test_the_variable_trusts_whatever_is_loaded(
    project: MakeProject, monkeypatch: pytest.MonkeyPatch, value: str, trusted: bool
) -> None:
    own = project(REDIRECTED, {".env": "LLMTASK_TRUST=1\n"})
    monkeypatch.setenv("LLMTASK_TRUST", value)
    assert is_trusted(own) is trusted


def test_a_caller_may_vouch_for_a_project_which_stores_nothing(project: MakeProject, tmp_path: Path) -> None:
    own = load_project(project(TASK, {"schemas/offer.py": marking(tmp_path / "ran")}).root, trust=True)
    assert load_schema(own, "offer")
    assert (tmp_path / "ran").exists()
    assert not (tmp_path / "data").exists()
    assert not is_trusted(again(own))


def test_a_python_file_that_cannot_be_read_is_named(project: MakeProject) -> None:
    own = project(TASK, {"schemas/there.py": ""})
    (own.root / "schemas/offer.py").symlink_to("/proc/self/mem")
    with pytest.raises(ProjectError, match=r"schemas/offer\.py: cannot be read"):
        risks(own)
