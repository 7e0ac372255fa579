"""board: what each model costs at an instant, when that changes, and what is wrong with a project's prices."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from llmtask.prices.board import Standing, check_prices, standings
from llmtask.project import Project
from tests.conftest import MakeProject

BEIJING = ZoneInfo("Asia/Shanghai")


def at(text: str) -> datetime:
    """An instant, in Beijing time."""
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING)


def of(project: Project, model_id: str, when: datetime) -> Standing:
    return next(one for one in standings(project, when) if one.model_id == model_id)


@pytest.mark.parametrize(
    ("when", "is_peak", "change"),
    [
        ("2026-11-23T08:59:59", False, "2026-11-23T09:00"),
        ("2026-11-23T09:00", True, "2026-11-23T12:00"),
        ("2026-11-23T13:00", False, "2026-11-23T14:00"),
        ("2026-11-23T17:59", True, "2026-11-23T18:00"),
        ("2026-11-27T18:00", False, "2026-11-30T09:00"),  # Friday evening to Monday
        ("2026-09-30T18:00", False, "2026-10-08T09:00"),  # over the National Day week and the Saturday worked for it
        ("2026-09-09T10:00", None, "2026-09-10T00:00"),  # before the first list
    ],
)
def test_the_next_change_is_when_another_list_holds(starter: Project, when: str, is_peak: bool, change: str) -> None:
    one = of(starter, "deepseek-chat", at(when))
    assert (one.is_peak, one.next_change) == (is_peak, at(change))
    assert (one.prices is None) == (is_peak is None)


def test_a_free_model_never_changes(starter: Project) -> None:
    one = of(starter, "glm-4.5-flash", at("2026-11-23T10:00"))
    assert (one.is_peak, one.next_change, one.why_unpriced) == (None, None, "")


def test_a_list_to_come_is_the_next_change(project: MakeProject) -> None:
    own = project(
        "models: {offline: {price: dated}}\n"
        "prices: {dated: [{effective_from: 2026-01-01, lists: {CNY: {cache_hit: 1, cache_miss: 1, output: 1}}},"
        " {effective_from: 2027-01-01, lists: {CNY: {cache_hit: 2, cache_miss: 2, output: 2}}}]}"
    )
    assert of(own, "offline", at("2026-11-23T10:00")).next_change == datetime(2027, 1, 1, tzinfo=UTC)
    assert of(own, "offline", at("2027-11-23T10:00")).next_change is None


def test_a_model_that_is_not_listed_shows_where_a_price_has_its_name(starter: Project) -> None:
    one = of(starter, "deepseek/deepseek-v4-pro", at("2026-11-23T10:00"))
    assert (one.price, one.is_peak, one.prices and one.prices.output) == ("deepseek/deepseek-v4-pro", True, 27)


def findings(project: Project, when: str = "2026-11-23T10:00", days: int = 10_000) -> list[tuple[bool, str, str]]:
    return [(one.is_problem, one.subject, one.text) for one in check_prices(project, at(when), days)]


def test_the_starter_has_no_problem(starter: Project) -> None:
    assert findings(starter) == [
        (False, "ollama", "the provider states no currency: whatever is asked of it is unpriced")
    ]


FREE = "{cache_hit: 0, cache_miss: 0, output: 0}"


@pytest.mark.parametrize(
    ("config", "subject", "piece"),
    [
        ("models: {offline: {price: null}}", "offline", "unpriced: it has no price; add one named 'offline/offline'"),
        ("providers: {zhipu: {currency: null}}", "glm-4.5-flash", "unpriced: its provider states no currency; add"),
        (
            "providers: {zhipu: {currency: EUR}}",
            "glm-4.5-flash",
            "unpriced: its price 'glm-flash-free' has no EUR list",
        ),
        (
            "models: {offline: {price: p}}\n"
            f"prices: {{p: [{{effective_from: 2027-01-01, lists: {{CNY: {FREE}}}}}]}}",
            "offline",
            "unpriced: its price 'p' holds only from 2027-01-01 on",
        ),
        ("models: {offline: {price: p}}\nprices: {p: []}", "offline", "unpriced: its price 'p' has no lists"),
        (
            "models: {offline: {price: p}}\nprices: {p: [{effective_from: 2026-01-01, peak: deepseek_peak,"
            f" lists: {{CNY: {FREE}}}, peak_lists: {{USD: {FREE}}}}}]}}",
            "offline",
            "peak hours cost as the others: `peak_lists` of 'p' has no CNY list",
        ),
        (
            "models: {offline: {price: p}}\n"
            f"prices: {{p: [{{effective_from: 2026-01-01, lists: {{CNY: {FREE}}}}},"
            f" {{effective_from: 2026-01-01, lists: {{CNY: {FREE}}}}}]}}",
            "p",
            "has 2 lists of 2026-01-01: the first one holds",
        ),
    ],
)
def test_a_cost_that_would_be_wrong_or_missing_is_a_problem(
    project: MakeProject, config: str, subject: str, piece: str
) -> None:
    problems = [one for one in findings(project(config)) if one[0]]
    assert any(one[1] == subject and one[2].startswith(piece) for one in problems), problems


def test_older_and_coming_lists_and_names_that_nobody_has_are_worth_a_look(project: MakeProject) -> None:
    lists = ", ".join(
        f"{{effective_from: {day}, lists: {{CNY: {FREE}}}}}" for day in ("2025-01-01", "2026-01-01", "2027-01-01")
    )
    own = project(f"models: {{offline: {{price: p}}}}\nprices: {{p: [{lists}]}}")
    found = findings(own)
    assert (False, "p", "1 older list, superseded on 2026-01-01: kept for calls of their time") in found
    assert (False, "p", "changes on 2027-01-01") in found
    assert (False, "offline", "no model has this price") in found
    assert not any(is_problem for is_problem, _, _ in found)


def test_prices_that_hold_for_long_are_looked_up_again(starter: Project) -> None:
    texts = [text for _, subject, text in findings(starter, days=365) if subject == "glm-flash-free"]
    assert texts == ["holds since 2024-01-01, 1,057 days: look it up at docs.bigmodel.cn/cn/guide/models/free"]
    assert not any(subject == "offline" for _, subject, _ in findings(starter, days=1))  # embedded: nobody bills it


@pytest.mark.parametrize(
    ("when", "found"), [("2026-11-23T10:00", []), ("2034-12-05T10:00", [True, False]), ("2035-10-01T10:00", [True])]
)
def test_a_year_whose_holidays_are_not_known_is_named_a_month_before(
    starter: Project, when: str, found: list[bool]
) -> None:
    assert [is_problem for is_problem, subject, _ in findings(starter, when) if subject == "deepseek_peak"] == found
