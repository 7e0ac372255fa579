"""`llmtask prices`: lists, checks, imports and exchange rates, from argv to exit code, stdout and stderr."""

import json
from pathlib import Path

import pytest

from llmtask.errors import ExitCode
from tests.commands.conftest import Command, WriteFiles

PEAK, NIGHT = "2026-11-23T02:00+00:00", "2026-11-23T14:00+00:00"
OPENAI = """
providers:
  openai: {base_url: 'https://api.openai.example/v1', currency: USD}
models:
  gpt: {provider: openai, name: gpt-5, context: 400000}
"""
MAP = (
    '{"gpt-5": {"litellm_provider": "openai", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05,'
    ' "cache_read_input_token_cost": 1.25e-07, "input_cost_per_token_above_200k_tokens": 2e-06}}'
)


def test_list_shows_the_list_in_force(command: Command) -> None:
    outcome = command("prices", "list", "--at", PEAK)
    assert outcome.code == ExitCode.DONE
    [chat] = [line.split() for line in outcome.stdout.splitlines() if line.strip().startswith("deepseek-chat")]
    assert chat[:7] == ["deepseek-chat", "deepseek", "deepseek-flash", "2026-09-10", "¥0.04", "¥2", "¥8"]
    assert chat[7:9] == ["peak", "to"]
    assert "deepseek-flash: api-docs.deepseek.com/quick_start/pricing" in outcome.stderr
    assert "off-peak to" in command("prices", "list", "--at", NIGHT).stdout


def test_lists_json_has_amounts_that_nobody_rounded(command: Command) -> None:
    found = {one["model"]: one for one in json.loads(command("prices", "list", "--json", "--at", PEAK).stdout)}
    assert found["deepseek-chat"] == {
        "model": "deepseek-chat",
        "provider": "deepseek",
        "currency": "CNY",
        "price": "deepseek-flash",
        "effective_from": "2026-09-10",
        "source": "api-docs.deepseek.com/quick_start/pricing",
        "is_peak": True,
        "per_million": {"cache_hit": "0.04", "cache_miss": "2", "output": "8"},
        "next_change": "2026-11-23T04:00:00+00:00",
        "unpriced": None,
    }


def test_an_unpriced_model_is_called_that(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": OPENAI})
    outcome = command("prices", "list", "--at", PEAK)
    [gpt] = [line.split() for line in outcome.stdout.splitlines() if line.strip().startswith("gpt ")]
    assert gpt == ["gpt", "openai", "unpriced"]
    assert "gpt is unpriced: it has no price; add one named 'openai/gpt-5'" in outcome.stderr
    [one] = [one for one in json.loads(command("prices", "list", "--json").stdout) if one["model"] == "gpt"]
    assert (one["per_million"], one["unpriced"][:15]) == (None, "it has no price")


def test_a_year_without_holidays_is_warned_of(command: Command) -> None:
    assert "public holidays of 2035 are not known yet" in command("prices", "list", "--at", "2035-03-01").stderr


def test_check_exits_1_where_a_cost_would_be_missing(command: Command, files: WriteFiles) -> None:
    outcome = command("prices", "check", "--at", PEAK)
    assert (outcome.code, outcome.stderr) == (ExitCode.DONE, "")
    assert "- ollama: the provider states no currency" in outcome.stdout
    assert command("prices", "check", "--strict").code == ExitCode.FAILED
    files({"config.yaml": OPENAI})
    outcome = command("prices", "check")
    assert outcome.code == ExitCode.FAILED
    assert outcome.stdout.startswith("✗ gpt: unpriced: it has no price")
    found = json.loads(command("prices", "check", "--json").stdout)
    assert {"is_problem", "subject", "text"} == set(found[0])


def test_check_says_when_all_is_well(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": "providers: {ollama: null}\n"})
    outcome = command("prices", "check", "--older-than", "100000", "--strict")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert outcome.stderr == "5 models: each has a price in its provider's currency\n"


def test_import_shows_first_and_writes_only_with_a_yes(command: Command, files: WriteFiles, work: Path) -> None:
    files({"config.yaml": OPENAI, "map.json": MAP})
    outcome = command("prices", "import", "map.json")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    for piece in ("+ new", "openai/gpt-5", "1.25", "another price above 200k tokens is not in it"):
        assert piece in outcome.stderr
    assert outcome.stderr.endswith("nothing was written; --yes writes 1 price\n")
    assert not (work / "prices.yaml").exists()

    outcome = command("prices", "import", "map.json", "--yes")
    assert outcome.stderr.endswith("1 price written to prices.yaml\n")
    assert "        USD: {cache_hit: 0.125, cache_miss: 1.25, output: 10}\n" in (work / "prices.yaml").read_text(
        "utf-8"
    )
    assert command("prices", "check").code == ExitCode.DONE
    again = command("prices", "import", "-", stdin=MAP)
    assert (again.stdout, again.stderr.endswith("nothing to write\n")) == ("", True)

    changed = command("prices", "import", "-", "--yes", stdin=MAP.replace("1e-05", "2e-05"))
    assert "10 → 20" in changed.stderr
    assert (work / "config.yaml").read_text("utf-8") == OPENAI


def test_imports_json_is_the_answer(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": OPENAI, "map.json": MAP})
    outcome = command("prices", "import", "map.json", "--json", "--model", "gpt")
    assert outcome.stderr == ""
    assert json.loads(outcome.stdout) == {
        "written": None,
        "changes": [
            {
                "model": "openai/gpt-5",
                "change": "new",
                "row": "gpt-5",
                "before": None,
                "after": {"cache_hit": "0.125", "cache_miss": "1.25", "output": "10"},
                "notes": ["another price above 200k tokens is not in it"],
            }
        ],
    }
    written = json.loads(command("prices", "import", "map.json", "--json", "--yes").stdout)["written"]
    assert Path(written).name == "prices.yaml"


def test_the_users_own_price_is_told_apart_and_kept(command: Command, files: WriteFiles, work: Path) -> None:
    own = "prices: {mine: [{effective_from: 2026-01-01, lists: {USD: {cache_hit: 1, cache_miss: 2, output: 3}}}]}\n"
    files({"config.yaml": OPENAI.replace("400000", "400000, price: mine") + own, "map.json": MAP})
    outcome = command("prices", "import", "map.json", "--yes")
    assert "openai/gpt-5: kept: priced by 'mine'; the map says $0.125 / $1.25 / $10\n" in outcome.stderr
    assert not (work / "prices.yaml").exists()


@pytest.mark.parametrize(
    ("argv", "piece"),
    [
        ([], "the public map is https://raw.githubusercontent.com/BerriAI/litellm/"),
        (["nope.json"], "'nope.json' cannot be read (No such file or directory)"),
        (["."], "'.' cannot be read"),
        (["config.yaml"], "it is not JSON"),
        (["map.json", "--provider", "openai"], "such as google=gemini"),
        (["map.json", "--provider", "opnai=x"], "unknown provider 'opnai'; did you mean 'openai'?"),
        (["map.json", "--model", "gpt5"], "did you mean 'openai/gpt-5'?"),
        (["a\x00b"], "cannot be read"),
    ],
)
def test_an_import_that_cannot_be_says_why_in_one_line(
    command: Command, files: WriteFiles, argv: list[str], piece: str
) -> None:
    files({"config.yaml": OPENAI, "map.json": MAP})
    outcome = command("prices", "import", *argv)
    assert (outcome.code, outcome.stdout, outcome.stderr.count("\n")) == (ExitCode.USAGE, "", 1)
    assert piece in outcome.stderr


def test_the_starters_prices_are_not_written(command: Command, files: WriteFiles) -> None:
    files({"map.json": '{"deepseek/x": {"litellm_provider": "deepseek", "input_cost_per_token": 0}}'})
    outcome = command("prices", "import", "map.json", "--yes", "--model", "*")
    assert (outcome.code, outcome.stdout) == (ExitCode.DONE, "")
    assert "skipped" in outcome.stderr


def test_rates_are_pinned_or_missed(command: Command, files: WriteFiles) -> None:
    outcome = command("prices", "rates")
    assert (outcome.code, outcome.stdout) == (ExitCode.USAGE, "")
    assert "`llmtask prices rates --fetch` fetches the ECB's" in outcome.stderr
    files({"config.yaml": "rates: {pinned_per_eur: {CNY: 7.80, USD: 1.2}}\n"})
    outcome = command("prices", "rates")
    rows = [line.split() for line in outcome.stdout.splitlines() if "pinned" in line]
    assert rows == [
        ["EUR", "7.8", "CNY", "pinned"],
        ["EUR", "1.2", "USD", "pinned"],
        ["USD", "6.5", "CNY", "pinned"],
        ["CNY", "0.153846", "USD", "pinned"],
    ]
    found = json.loads(command("prices", "rates", "--json", "--on", "2026-11-01").stdout)
    assert (found["newest"], found["rates"][2]) == (
        None,
        {"from": "USD", "to": "CNY", "rate": "6.5", "rate_date": None, "is_pinned": True},
    )
    assert "'tomorrow' is no day" in command("prices", "rates", "--on", "tomorrow").stderr


def test_a_bank_that_is_not_there_exits_as_a_provider_would(command: Command, files: WriteFiles) -> None:
    files({"config.yaml": "rates: {url: 'http://127.0.0.1:9/rates.zip'}\n"})
    outcome = command("prices", "rates", "--fetch")
    assert (outcome.code, outcome.stdout, outcome.stderr.count("\n")) == (ExitCode.PROVIDER, "", 1)
    assert "http://127.0.0.1:9/rates.zip cannot be fetched" in outcome.stderr


@pytest.mark.parametrize("at", ["9999-12-31", "1969-12-31", "2200-01-02T00:00", "soon"])
def test_a_time_without_prices_is_refused(command: Command, at: str) -> None:
    for name in ("list", "check"):
        outcome = command("prices", name, "--at", at)
        assert (outcome.code, outcome.stdout, outcome.stderr.count("\n")) == (ExitCode.USAGE, "", 1)


@pytest.mark.parametrize("day", ["1969-12-31", "2200-01-01", "0001-01-01"])
def test_a_list_of_another_age_is_refused_with_its_line(command: Command, files: WriteFiles, day: str) -> None:
    files({"config.yaml": f"prices:\n  old: [{{effective_from: {day}, lists: {{}}}}]\n"})
    outcome = command("prices", "list")
    assert (outcome.code, outcome.stdout) == (ExitCode.PROJECT, "")
    assert "config.yaml:2: prices.old.0.effective_from" in outcome.stderr
