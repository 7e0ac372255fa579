"""price_map and price_file: what LiteLLM's map says becomes exact lists of a file of its own, and nobody's are lost."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import yaml

from llmtask.errors import ProjectError, UsageError
from llmtask.money import Cost
from llmtask.prices import get_cost
from llmtask.prices.price_file import write_changes
from llmtask.prices.price_map import Change, changes, read_map
from llmtask.project import Project, load_project
from llmtask.tokens import Tokens
from tests.conftest import MakeProject

TODAY, LATER = date(2026, 11, 25), date(2026, 12, 24)
CONFIG = """
providers:
  openai: {base_url: 'https://api.openai.example/v1', currency: USD, unlisted: {context: 128000}}
models:
  gpt: {provider: openai, name: gpt-5, context: 400000}
"""
# As the map has them; its own text, so that no float of ours stands between.
ROW = (
    '{"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07,'
    ' "cache_read_input_token_cost": 7.5e-08, "source": "https://openai.example/pricing"}'
)


def rows_of(**rows: str | dict[str, Any]) -> dict[str, Any]:
    """A map of rows, each as text or as a whole."""
    parts = (f'"{name}": {row if isinstance(row, str) else json.dumps(row)}' for name, row in rows.items())
    return read_map(f"{{{', '.join(parts)}}}".encode(), "map.json")


def row(**more: Any) -> dict[str, Any]:
    return {**json.loads(ROW), **more}


def only(project: Project, rows: dict[str, Any], *patterns: str) -> Change:
    """The change of openai/gpt-5."""
    return next(one for one in changes(project, rows, patterns, {}) if one.name == "openai/gpt-5")


def imported(project: Project, rows: dict[str, Any], today: date = TODAY, *patterns: str) -> Project:
    write_changes(project, changes(project, rows, patterns, {}), today)
    return load_project(project.root)


def test_a_float_of_the_map_is_the_decimal_of_its_digits(project: MakeProject) -> None:
    own = imported(project(CONFIG), rows_of(**{"gpt-5": ROW}))
    [price] = own.config.prices["openai/gpt-5"]
    assert (price.effective_from, price.source) == (
        TODAY,
        "LiteLLM's price map, gpt-5, from https://openai.example/pricing",
    )
    usd = price.lists["USD"]
    assert [str(one) for one in (usd.cache_hit, usd.cache_miss, usd.output)] == ["0.075", "0.15", "0.6"]
    cost = get_cost("gpt", Tokens(input=3, output=1, cached=1), project=own)
    assert cost == Cost(75 + 2 * 150 + 600, "USD")


@pytest.mark.parametrize(
    ("text", "million"),
    [
        ("1.5e-07", "0.15"),
        ("0.00000015", "0.15"),
        ("5.46875e-07", "0.546875"),
        ("1e-05", "10"),
        ("0", "0"),
        ("0.0", "0"),
        ("2.5E-6", "2.5"),
        ("1.0000000000e-06", "1"),
        ("1.2345678901234e-09", "0.0012345678901234"),
    ],
)
def test_the_file_says_the_same_as_the_map_to_the_last_digit(project: MakeProject, text: str, million: str) -> None:
    own = imported(project(CONFIG), rows_of(**{"gpt-5": ROW.replace("1.5e-07", text)}))
    assert own.config.prices["openai/gpt-5"][0].lists["USD"].cache_miss == Decimal(million)


def test_a_later_import_adds_a_list_and_keeps_the_older_one(project: MakeProject) -> None:
    own = imported(project(CONFIG), rows_of(**{"gpt-5": ROW}))
    own = imported(own, rows_of(**{"gpt-5": ROW}), date(2026, 12, 1))
    assert len(own.config.prices["openai/gpt-5"]) == 1  # the same price is no news
    own = imported(own, rows_of(**{"gpt-5": ROW.replace("6e-07", "7e-07")}), LATER)
    found = [(one.effective_from, one.lists["USD"].output) for one in own.config.prices["openai/gpt-5"]]
    assert found == [(LATER, Decimal("0.7")), (TODAY, Decimal("0.6"))]
    own = imported(own, rows_of(**{"gpt-5": ROW.replace("6e-07", "8e-07")}), LATER)
    assert [one.lists["USD"].output for one in own.config.prices["openai/gpt-5"]] == [Decimal("0.8"), Decimal("0.6")]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            CONFIG + "prices: {openai/gpt-5: [{effective_from: 2026-01-01,"
            " lists: {USD: {cache_hit: 1, cache_miss: 1, output: 1}}}]}",
            "priced by 'openai/gpt-5'",
        ),
        (CONFIG + "prices: {openai/gpt-5: null}", "config.yaml leaves it unpriced"),
        (CONFIG.replace("400000", "400000, price: glm-flash-free"), "priced by 'glm-flash-free'"),
    ],
)
def test_what_the_user_states_is_kept(project: MakeProject, config: str, why: str) -> None:
    own = project(config)
    change = only(own, rows_of(**{"gpt-5": ROW}))
    assert (change.kind, change.notes, change.is_written) == ("kept", (why,), False)
    before = own.config.prices
    assert imported(own, rows_of(**{"gpt-5": ROW})).config.prices == before


def test_what_config_states_wins_over_what_was_imported_before(project: MakeProject) -> None:
    own = imported(project(CONFIG), rows_of(**{"gpt-5": ROW}))
    text = "[{effective_from: 2026-01-01, lists: {USD: {cache_hit: 0, cache_miss: 0, output: 3}}}]"
    (own.root / "config.yaml").write_text(f"{CONFIG}prices: {{openai/gpt-5: {text}}}", encoding="utf-8")
    assert get_cost("gpt", Tokens(output=1), project=load_project(own.root)) == Cost(3_000, "USD")
    (own.root / "config.yaml").write_text(f"{CONFIG}prices: {{openai/gpt-5: null}}", encoding="utf-8")
    assert get_cost("gpt", Tokens(output=1), project=load_project(own.root)) is None


def test_the_starters_prices_are_kept(project: MakeProject) -> None:
    own = project("providers: {deepseek: {currency: USD}}")
    rows = rows_of(**{"deepseek/deepseek-flash": row(litellm_provider="deepseek")})
    found = {one.name: one.kind for one in changes(own, rows, (), {})}
    assert found["deepseek/deepseek-flash"] == "kept"
    rows = rows_of(**{"deepseek/deepseek-v4-pro": row(litellm_provider="deepseek")})
    assert [one.kind for one in changes(own, rows, ["deepseek/*"], {})] == ["kept"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"off_peak_pricing": {"hours_utc": "16:30-00:30"}}, "by the hour"),
        ({"tiered_pricing": [{"range": [0, 1000]}]}, "by the tier"),
        ({"pricing_periods": [{}]}, "by the period"),
        ({"output_cost_per_reasoning_token": 9e-07}, "its reasoning costs more"),
        ({"input_cost_per_token": None}, "no price per token"),
        ({"output_cost_per_token": "6e-07"}, "its output_cost_per_token is no price: '6e-07'"),
        ({"output_cost_per_token": -1e-07}, "is no price"),
        ({"output_cost_per_token": True}, "is no price: 'True'"),
        ({"output_cost_per_token": 12}, "is no price: '12'"),
        ({"output_cost_per_token": [1]}, "is no price"),
        ({"output_cost_per_token": float("nan")}, "is no price: 'NaN'"),
        ({"output_cost_per_token": float("inf")}, "is no price: 'Infinity'"),
        ({"input_cost_per_image": 1000}, "its input_cost_per_image is no price"),
        ({"search_context_cost_per_query": {"search_context_size_medium": {}}}, "is no price"),
    ],
)
def test_what_a_list_cannot_say_is_skipped_and_named(project: MakeProject, more: dict[str, Any], why: str) -> None:
    change = only(project(CONFIG), rows_of(**{"gpt-5": row(**more)}))
    assert (change.kind, change.after) == ("skipped", None)
    assert why in change.notes[0]


@pytest.mark.parametrize("text", ["1e-99999999", "1e99999999", "1.23456789012345678901234e-07", "1e-17"])
def test_an_amount_beyond_all_prices_is_none(project: MakeProject, text: str) -> None:
    change = only(project(CONFIG), rows_of(**{"gpt-5": ROW.replace("6e-07", text)}))
    assert (change.kind, change.after) == ("skipped", None)


def test_what_the_list_leaves_out_is_named(project: MakeProject) -> None:
    more = {
        "cache_read_input_token_cost": None,
        "input_cost_per_token_above_200k_tokens": 3e-07,
        "cache_creation_input_token_cost": 2e-07,
        "deprecation_date": "2027-01-31",
        "input_cost_per_image": 0.0013,
        "search_context_cost_per_query": {"search_context_size_low": 0.03, "search_context_size_medium": 0.035},
    }
    change = only(project(CONFIG), rows_of(**{"gpt-5": row(**more)}))
    assert change.notes == (
        "cache hits cost as misses: the map has no price of them",
        "another price above 200k tokens is not in it",
        "what it takes to write to the cache is not in it",
        "a search costs by its size: the medium one is taken",
        "the map says that it retires on 2027-01-31",
    )
    assert change.after
    assert (change.after.cache_hit, change.after.image, change.after.search) == (
        Decimal("0.15"),
        Decimal("0.0013"),
        Decimal("0.035"),
    )


def test_a_provider_of_another_currency_is_not_billed_in_dollars(project: MakeProject) -> None:
    own = project(CONFIG.replace("USD", "CNY"))
    change = only(own, rows_of(**{"gpt-5": ROW}))
    assert (change.kind, change.notes) == (
        "skipped",
        ("provider 'openai' bills in CNY, and the map has USD alone",),
    )


def test_a_provider_without_a_currency_is_told_what_it_takes(project: MakeProject) -> None:
    change = only(project(CONFIG.replace("currency: USD, ", "")), rows_of(**{"gpt-5": ROW}))
    assert (change.kind, change.notes) == ("new", ("in force once providers.openai says `currency: USD`",))


def test_the_row_with_the_full_name_is_the_one_that_is_meant(project: MakeProject) -> None:
    rows = rows_of(
        **{
            "gpt-5": row(litellm_provider="vertex", output_cost_per_token=9e-07),
            "azure/gpt-5": row(litellm_provider="azure", output_cost_per_token=9e-07),
            "openai/gpt-5": row(),
        }
    )
    assert only(project(CONFIG), rows).key == "openai/gpt-5"
    del rows["openai/gpt-5"]
    change = only(project(CONFIG), rows)
    assert (change.kind, change.key) == ("missing", "")
    assert change.notes == ("other providers have it: --provider openai=azure takes it from there",)
    aliased = changes(project(CONFIG), rows, ["openai/gpt-5"], {"openai": "azure"})
    assert [(one.kind, one.key) for one in aliased] == [("new", "azure/gpt-5")]


def test_only_what_is_chosen_is_taken(project: MakeProject) -> None:
    rows = rows_of(**{name: ROW for name in ("gpt-5", "gpt-5-nano", "o9", "openai/o8")})
    own = project(CONFIG)

    def names(*patterns: str) -> list[str]:
        return [one.name for one in changes(own, rows, patterns, {}) if one.kind == "new"]

    assert names() == ["openai/gpt-5"]  # the project's own
    assert names("gpt-5*") == ["openai/gpt-5", "openai/gpt-5-nano"]
    assert names("openai/o*", "gpt") == ["openai/o9", "openai/o8", "openai/gpt-5"]  # gpt is a model's id
    assert len(names("*")) == 4
    own = imported(own, rows, TODAY, "o9")
    assert [one.name for one in changes(own, rows, (), {}) if one.kind == "same"] == ["openai/o9"]  # and what was


@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        ("gtp-5", "did you mean 'openai/gpt-5'"),
        ("openai/gpt5", "did you mean 'openai/gpt-5'"),
        ("opnai/gpt-5", "unknown provider 'opnai' in 'opnai/gpt-5'; did you mean 'openai'?"),
        ("", "the map has no model '' of your providers"),
    ],
)
def test_a_pattern_that_matches_nothing_says_so(project: MakeProject, pattern: str, piece: str) -> None:
    with pytest.raises(UsageError) as caught:
        changes(project(CONFIG), rows_of(**{"gpt-5": ROW}), [pattern], {})
    assert piece in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is not JSON"),
        (b"<!DOCTYPE html>", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[]", "no rows"),
        (b"{}", "no rows"),
        (b'{"gpt-5": 3, "x": {"input_cost_per_token": 1}, "sample_spec": {"litellm_provider": "x"}}', "no rows"),
        (b'{"a\\u001b[31m": {"litellm_provider": "openai"}}', "no rows"),
    ],
)
def test_what_is_no_map_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(UsageError, match="is no price map of LiteLLM's") as caught:
        read_map(data, "map.json")
    assert why in str(caught.value)


def test_what_the_map_calls_a_source_cannot_break_the_file(project: MakeProject) -> None:
    rows = rows_of(
        **{"gpt-5": row(source='x"}\n  evil: [1]\x1b[31m'), "openai/a: b #": row(source='"quoted": {x} # y')}
    )
    own = imported(project(CONFIG), rows, TODAY, "*")
    assert own.config.prices["openai/gpt-5"][0].source == "LiteLLM's price map, gpt-5"
    assert own.config.prices["openai/a: b #"][0].source.endswith('from "quoted": {x} # y')
    assert set(yaml.safe_load((own.root / "prices.yaml").read_text("utf-8"))) == {"prices"}


def test_what_somebody_added_to_the_file_stays(project: MakeProject) -> None:
    text = """
prices:
  mine:
    - effective_from: 2026-01-01
      source: "page: 3"
      peak: deepseek_peak
      lists:
        CNY: {cache_hit: 0.02, cache_miss: 1, output: 4, image: 0.5}
        USD: {cache_hit: 0, cache_miss: '0.12345678901234567890', output: 0}
      peak_lists:
        CNY: {cache_hit: 0.04, cache_miss: 2, output: 8}
  empty: []
  none: [{effective_from: 2026-01-01, lists: {}}]
"""
    own = project(CONFIG, {"prices.yaml": text})
    after = imported(own, rows_of(**{"gpt-5": ROW})).config.prices
    assert {**own.config.prices, "openai/gpt-5": after["openai/gpt-5"]} == after


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("providers: {openai: {base_url: 'https://evil.example'}}", r"prices\.yaml:1: unknown key 'providers'"),
        ("prices:\n  a: [{effective_from: soon, lists: {}}]", r"prices\.yaml:2: prices\.a\.0\.effective_from"),
        ("prices:\n  a: [{effective_from: 2026-01-01, lists: {}, peak: nights}]", r"prices\.yaml:2: unknown schedule"),
        ("- 1", r"prices\.yaml:1: a mapping is expected"),
    ],
)
def test_a_price_file_holds_prices_alone(project: MakeProject, text: str, piece: str) -> None:
    with pytest.raises(ProjectError, match=piece):
        project(CONFIG, {"prices.yaml": text})


def test_the_starter_is_not_written_to(starter: Project) -> None:
    with pytest.raises(UsageError, match="`llmtask init DIR` makes a project"):
        write_changes(starter, (), TODAY)


def test_a_file_that_cannot_be_written_is_left_as_it_was(project: MakeProject) -> None:
    own = project(CONFIG)
    (own.root / "prices.yaml").mkdir()
    with pytest.raises(ProjectError, match=r"prices\.yaml cannot be written"):
        write_changes(own, changes(own, rows_of(**{"gpt-5": ROW}), (), {}), TODAY)
    assert [path.name for path in own.root.iterdir() if path.name.startswith(".")] == []
