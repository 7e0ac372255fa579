"""prices: what a call costs, exact to the billionth, against a calculation of its own."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from llmtask import get_cost as nearest_cost
from llmtask.errors import UsageError
from llmtask.money import Cost
from llmtask.prices import HolidayUnknownWarning, get_cost, get_provider
from llmtask.project import Project
from llmtask.tokens import Tokens
from tests.conftest import MakeProject

BEIJING = ZoneInfo("Asia/Shanghai")
TOKENS = Tokens(input=12_345, output=678, cached=4_321, reasoning=99)

# DeepSeek's published prices per 1,000,000 tokens (hit, miss, output), read from the page and not from config.yaml.
PAGE = {
    ("CNY", False): ("0.02", "1", "4"),
    ("CNY", True): ("0.04", "2", "8"),
    ("USD", False): ("0.003", "0.15", "0.60"),
    ("USD", True): ("0.006", "0.30", "1.20"),
}
FLASH = {"deepseek-chat", "deepseek-reasoner"}


def expected(currency: str, is_peak: bool, tokens: Tokens = TOKENS) -> Decimal:
    """What the page says, in units of the currency."""
    hit, miss, output = (Decimal(price) for price in PAGE[currency, is_peak])
    total = hit * tokens.cached + miss * (tokens.input - tokens.cached) + output * tokens.output
    return total / 1_000_000


def at(text: str) -> datetime:
    """An instant, in Beijing time."""
    return datetime.fromisoformat(text).replace(tzinfo=BEIJING)


INSTANTS = {  # Beijing time: whether it is peak
    "Monday, just before nine": ("2026-11-23T08:59:59.999999", False),
    "Monday, nine": ("2026-11-23T09:00:00", True),
    "Monday, last moment before noon": ("2026-11-23T11:59:59.999999", True),
    "Monday, noon": ("2026-11-23T12:00:00", False),
    "Monday, just before two": ("2026-11-23T13:59:59", False),
    "Monday, two": ("2026-11-23T14:00:00", True),
    "Monday, last moment before six": ("2026-11-23T17:59:59.999999", True),
    "Monday, six": ("2026-11-23T18:00:00", False),
    "Monday, midnight": ("2026-11-23T00:00:00", False),
    "Tuesday": ("2026-11-24T10:00:00", True),
    "Wednesday": ("2026-11-25T10:00:00", True),
    "Thursday": ("2026-11-26T10:00:00", True),
    "Friday": ("2026-11-27T16:00:00", True),
    "Saturday": ("2026-11-28T10:00:00", False),
    "Sunday": ("2026-11-29T10:00:00", False),
    "National Day, a Thursday": ("2026-10-01T10:00:00", False),
    "in the National Day week, a Monday": ("2026-10-05T15:00:00", False),
    "the Thursday after it": ("2026-10-08T10:00:00", True),
    "a Sunday worked in exchange": ("2026-09-20T10:00:00", False),
    "a Saturday worked in exchange": ("2026-10-10T10:00:00", False),
}


@pytest.mark.parametrize("currency", ["CNY", "USD"])
@pytest.mark.parametrize("model_id", sorted(FLASH))
@pytest.mark.parametrize(("when", "is_peak"), INSTANTS.values(), ids=INSTANTS)
def test_a_deepseek_call_costs_what_the_page_says(
    project: MakeProject, when: str, is_peak: bool, model_id: str, currency: str
) -> None:
    own = project(f"providers: {{deepseek: {{currency: {currency}}}}}")
    cost = get_cost(model_id, TOKENS, at=at(when), project=own)
    assert cost is not None
    assert (cost.amount, cost.currency) == (expected(currency, is_peak), currency)


def test_the_time_of_the_call_counts_in_whatever_zone_it_is_given(starter: Project) -> None:
    costs = {
        get_cost("deepseek-chat", TOKENS, at=when, project=starter)
        for when in (
            datetime(2026, 11, 23, 1, 30, tzinfo=UTC),
            datetime(2026, 11, 22, 20, 30, tzinfo=ZoneInfo("America/New_York")),
            at("2026-11-23T09:30:00"),
        )
    }
    assert [cost and cost.amount for cost in costs] == [expected("CNY", is_peak=True)]


@pytest.mark.parametrize(
    ("tokens", "nanos"),
    [
        (Tokens(), 0),
        (Tokens(input=1, cached=1), 20),  # CNY 0.02 a million is 20 nano a token
        (Tokens(input=1), 1_000),
        (Tokens(output=1), 4_000),
        (Tokens(output=1, reasoning=1), 4_000),  # reasoning is part of the output, not paid twice
        (Tokens(input=1_000_000), 1_000_000_000),
        (Tokens(input=1_000_000, cached=1_000_000), 20_000_000),
        (Tokens(input=10**12, output=10**12), 5 * 10**15),
    ],
)
def test_a_cost_is_exact_to_the_nano_unit(starter: Project, tokens: Tokens, nanos: int) -> None:
    assert get_cost("deepseek-chat", tokens, at=at("2026-11-28T10:00:00"), project=starter) == Cost(nanos, "CNY")


def test_a_half_of_a_nano_unit_goes_to_the_even_one(project: MakeProject) -> None:
    own = project(
        "models: {offline: {price: fine}}\n"
        "prices: {fine: [{effective_from: 2024-01-01, lists: {CNY: {cache_hit: 0, cache_miss: 0.0005, output: 0}}}]}"
    )
    nanos = [cost.nanos for n in (1, 2, 3, 5) if (cost := get_cost("offline", Tokens(input=n), project=own))]
    assert nanos == [0, 1, 2, 2]


def test_a_year_that_the_calendar_does_not_know_counts_as_working_days_and_warns(starter: Project) -> None:
    with pytest.warns(
        HolidayUnknownWarning, match="holidays of 2035 are not known yet, so each weekday counts as peak"
    ):
        cost = get_cost("deepseek-chat", TOKENS, at=at("2035-10-01T10:00:00"), project=starter)
    assert cost is not None
    assert cost.amount == expected("CNY", is_peak=True)


def test_no_calendar_is_asked_outside_the_hours(starter: Project) -> None:
    cost = get_cost("deepseek-chat", TOKENS, at=at("2035-10-01T13:00:00"), project=starter)
    assert cost is not None
    assert cost.amount == expected("CNY", is_peak=False)


@pytest.mark.parametrize("model_id", ["glm-4.5-flash", "glm-4.1v-thinking-flash", "offline"])
def test_a_free_model_costs_nothing_which_is_not_unpriced(starter: Project, model_id: str) -> None:
    assert get_cost(model_id, TOKENS, project=starter) == Cost(0, "CNY")


@pytest.mark.parametrize("model_id", ["ollama/qwen3:8b", "deepseek/deepseek-v9"])
def test_a_model_without_a_price_is_unpriced_and_never_0(starter: Project, model_id: str) -> None:
    assert get_cost(model_id, TOKENS, project=starter) is None


def test_a_price_that_was_removed_is_unpriced(project: MakeProject) -> None:
    assert get_cost("deepseek-chat", TOKENS, project=project("models: {deepseek-chat: {price: null}}")) is None


def test_an_account_without_a_currency_is_unpriced(project: MakeProject) -> None:
    assert get_cost("deepseek-chat", TOKENS, project=project("providers: {deepseek: {currency: null}}")) is None


@pytest.mark.parametrize("when", ["2026-11-28T10:00:00", "2026-11-23T10:00:00"])
def test_a_currency_that_the_price_has_no_list_for_is_unpriced(project: MakeProject, when: str) -> None:
    own = project("providers: {deepseek: {currency: EUR}}")
    assert get_cost("deepseek-chat", TOKENS, at=at(when), project=own) is None


def test_a_price_begins_at_midnight_of_its_schedules_zone(starter: Project) -> None:
    before = datetime(2026, 9, 9, 15, 59, 59, tzinfo=UTC)  # 23:59:59 in Beijing
    begun = datetime(2026, 9, 9, 16, 0, tzinfo=UTC)
    assert get_cost("deepseek-chat", TOKENS, at=before, project=starter) is None
    assert get_cost("deepseek-chat", TOKENS, at=begun, project=starter) is not None


DATED = """
models: {offline: {price: dated}}
prices:
  dated:
    - {effective_from: 2026-06-01, lists: {CNY: {cache_hit: 2, cache_miss: 2, output: 2}}}
    - {effective_from: 2026-01-01, lists: {CNY: {cache_hit: 1, cache_miss: 1, output: 1}}}
    - {effective_from: 2027-01-01, lists: {CNY: {cache_hit: 3, cache_miss: 3, output: 3}}}
"""


@pytest.mark.parametrize(
    ("when", "nanos"),
    [
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), None),
        (datetime(2026, 1, 1, tzinfo=UTC), 1_000),
        (datetime(2026, 5, 31, 23, 59, tzinfo=UTC), 1_000),
        (datetime(2026, 6, 1, tzinfo=UTC), 2_000),
        (datetime(2026, 12, 31, tzinfo=UTC), 2_000),
        (datetime(2030, 1, 1, tzinfo=UTC), 3_000),
    ],
)
def test_a_call_costs_by_the_price_of_its_day(project: MakeProject, when: datetime, nanos: int | None) -> None:
    cost = get_cost("offline", Tokens(input=1), at=when, project=project(DATED))
    assert cost == (None if nanos is None else Cost(nanos, "CNY"))


def test_a_schedule_may_run_to_the_end_of_the_day(project: MakeProject) -> None:
    own = project(
        "models: {offline: {price: night}}\n"
        "schedules: {night: {timezone: UTC, weekdays: [1], hours: ['22:00-24:00']}}\n"
        "prices: {night: [{effective_from: 2024-01-01, peak: night,"
        " lists: {CNY: {cache_hit: 0, cache_miss: 0, output: 1}},"
        " peak_lists: {CNY: {cache_hit: 0, cache_miss: 0, output: 5}}}]}"
    )
    monday = [datetime(2026, 11, 23, hour, 59, 59, tzinfo=UTC) for hour in (21, 22, 23)]
    costs = [get_cost("offline", Tokens(output=1), at=when, project=own) for when in monday]
    assert costs == [Cost(1_000, "CNY"), Cost(5_000, "CNY"), Cost(5_000, "CNY")]


def test_the_provider_of_a_model_is_named(starter: Project) -> None:
    providers = {model_id: get_provider(model_id, project=starter) for model_id in starter.config.models}
    assert providers == {
        "deepseek-chat": "deepseek",
        "deepseek-reasoner": "deepseek",
        "glm-4.5-flash": "zhipu",
        "glm-4.1v-thinking-flash": "zhipu",
        "offline": "offline",
    }
    assert get_provider("ollama/qwen3:8b") == "ollama"


def test_an_unknown_model_has_no_cost_and_no_provider(starter: Project) -> None:
    with pytest.raises(UsageError, match="did you mean 'deepseek-chat'"):
        get_cost("deepseek-chatt", TOKENS, project=starter)
    with pytest.raises(UsageError, match="did you mean 'deepseek-chat'"):
        get_provider("deepseek-chatt", project=starter)


def test_prices_come_from_the_nearest_project(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTASK_PROJECT", str(project(DATED).root))
    assert nearest_cost("offline", Tokens(input=1), at=datetime(2026, 7, 1, tzinfo=UTC)) == Cost(2_000, "CNY")


def test_images_and_searches_cost_by_the_piece_where_the_list_says_so(project: MakeProject) -> None:
    own = project(
        "models: {offline: {price: fees}}\n"
        "prices: {fees: [{effective_from: 2024-01-01, lists: {CNY: {cache_hit: 0.02, cache_miss: 1, output: 4,"
        " image: 0.0013, search: 0.005}}}]}"
    )
    cost = get_cost("offline", Tokens(input=10, output=1), project=own, images=3, searches=2)
    assert cost
    assert cost.amount == Decimal("0.000014") + 3 * Decimal("0.0013") + 2 * Decimal("0.005")


def test_images_that_are_billed_as_tokens_cost_nothing_beside(starter: Project) -> None:
    when = at("2026-11-28T10:00:00")
    alone = get_cost("deepseek-chat", TOKENS, at=when, project=starter)
    assert get_cost("deepseek-chat", TOKENS, at=when, project=starter, images=9, searches=9) == alone


def test_a_call_with_more_hits_than_input_is_never_negative(starter: Project) -> None:
    cost = get_cost("deepseek-chat", Tokens(input=1, cached=5), at=at("2026-11-28T10:00:00"), project=starter)
    assert cost == Cost(100, "CNY")


def test_a_price_of_any_length_is_exact(project: MakeProject) -> None:
    long = "0.1234567890123456789012345678901234567890"
    own = project(
        "models: {offline: {price: long}}\n"
        f"prices: {{long: [{{effective_from: 2024-01-01, lists: {{CNY:"
        f" {{cache_hit: 0, cache_miss: '{long}', output: 0}}}}}}]}}"
    )
    cost = get_cost("offline", Tokens(input=10**40), project=own)
    assert cost
    assert cost.nanos == int(long[2:]) * 1000


def test_a_model_without_a_price_takes_the_one_of_its_full_name(project: MakeProject) -> None:
    text = (
        "models: {qwen: {provider: offline, name: qwen, context: 1000}}\n"
        "prices: {offline/qwen: [{effective_from: 2024-01-01, lists: {CNY: {cache_hit: 1, cache_miss: 2, output: 3}}}]}"
    )
    assert get_cost("qwen", Tokens(1, 1), project=project(text)) == Cost(5_000, "CNY")
    gone = text + "\nproviders: {offline: {currency: USD}}"
    assert get_cost("qwen", Tokens(1, 1), project=project(gone)) is None


def test_a_time_without_a_zone_is_local(starter: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    naive = datetime(2026, 11, 23, 9, 30)  # noqa: DTZ001  # what a caller may hand over
    cost = get_cost("deepseek-chat", TOKENS, at=naive, project=starter)
    monkeypatch.undo()
    time.tzset()
    assert cost
    assert cost.amount == expected("CNY", is_peak=True)


def test_the_unlisted_pro_has_the_price_of_its_full_name(starter: Project) -> None:
    cost = get_cost("deepseek/deepseek-v4-pro", Tokens(output=2), at=at("2026-11-28T10:00:00"), project=starter)
    assert cost == Cost(27_000, "CNY")
