"""rates: amounts in another currency, by pinned rates and by the bank's; exact, and by the right day."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmtask.errors import NoRateError, ProjectError, UsageError
from llmtask.money import Cost, Currency
from llmtask.project import Project
from llmtask.rates import Rates, load_rates
from llmtask.rates.cache import store
from tests.conftest import MakeProject

DAYS = {
    "2005-03-31": {"USD": "1.2964"},
    "2026-10-30": {"CNY": "8.25", "USD": "1.16"},
    "2026-11-20": {"CNY": "8.2", "USD": "1.16"},
    "2026-11-23": {"CNY": "8.1423"},
    "2026-11-24": {"CNY": "8.1", "USD": "1.1498"},
}
TODAY = date(2026, 11, 25)


@pytest.fixture
def bank(starter: Project) -> Rates:
    """The starter's rates, with a few days at hand."""
    store(starter.config.rates.url, DAYS, None)
    return load_rates(starter, today=TODAY)


@pytest.mark.parametrize(
    ("on", "used"),
    [
        (date(2026, 11, 24), date(2026, 11, 24)),
        (date(2026, 11, 25), date(2026, 11, 24)),
        (date(2026, 11, 23), date(2026, 11, 20)),  # that day has no rate of USD, and both legs are of one day
        (date(2026, 11, 22), date(2026, 11, 20)),
        (date(2026, 11, 19), date(2026, 10, 30)),
        (date(2026, 10, 30), date(2026, 10, 30)),
    ],
)
def test_the_rate_is_that_of_the_last_day_on_or_before(bank: Rates, on: date, used: date) -> None:
    found = bank.convert(Cost(1_500_000_000, "USD"), "CNY", on)
    rates = DAYS[used.isoformat()]
    assert (found.rate_date, found.currency, found.is_pinned) == (used, "CNY", False)
    assert Fraction(found.amount) == pytest.approx(Fraction("1.5") * Fraction(rates["CNY"]) / Fraction(rates["USD"]), 0)


def test_one_leg_needs_no_more_than_its_own_currency(bank: Rates) -> None:
    found = bank.convert(Cost(8_142_300_000, "CNY"), "EUR", date(2026, 11, 23))
    assert (found.amount, found.rate_date) == (Decimal(1), date(2026, 11, 23))


def test_a_currency_in_itself_needs_no_rate(starter: Project) -> None:
    found = load_rates(starter).convert(Cost(123, "USD"), "USD", TODAY)
    assert (found.amount, found.rate_date, found.is_pinned) == (Decimal("0.000000123"), None, False)


def test_before_the_first_day_there_is_no_rate(bank: Rates) -> None:
    with pytest.raises(
        NoRateError, match=r"no exchange rates of CNY and USD on or before 2026-10-29: .* on 2005-03-31;"
    ):
        bank.convert(Cost(1, "USD"), "CNY", date(2026, 10, 29))
    with pytest.raises(UsageError, match=r"of USD on or before 1999-01-04.*pinned_per_eur"):
        bank.convert(Cost(1, "USD"), "EUR", date(1999, 1, 4))


@pytest.mark.parametrize("name", ["GBP", "cny", "", "人民币"])
def test_a_currency_that_is_none_of_ours_is_refused(bank: Rates, name: Currency) -> None:
    with pytest.raises(NoRateError, match="unknown currency"):
        bank.convert(Cost(1, "USD"), name, TODAY)


def test_pinned_rates_hold_on_every_day_and_need_no_bank(project: MakeProject) -> None:
    rates = load_rates(project("rates: {pinned_per_eur: {CNY: 7.80, USD: 1.1}}"))
    for on in (date(1970, 1, 1), TODAY):
        found = rates.convert(Cost(11 * 10**8, "USD"), "CNY", on)
        assert (found.amount, found.rate_date, found.is_pinned) == (Decimal("7.8"), None, True)


def test_a_pinned_rate_stands_in_for_the_banks_in_one_leg(project: MakeProject) -> None:
    own = project("rates: {pinned_per_eur: {CNY: 7.80}}")
    store(own.config.rates.url, DAYS, None)
    found = load_rates(own, today=TODAY).convert(Cost(1_149_800_000, "USD"), "CNY", TODAY)
    assert (found.amount, found.rate_date, found.is_pinned) == (Decimal("7.8"), date(2026, 11, 24), True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{pinned_per_eur: {CNY: 0}}", "greater than 0"),
        ("{pinned_per_eur: {CNY: -7.8}}", "greater than 0"),
        ("{pinned_per_eur: {CNY: .nan}}", "finite number"),
        ("{pinned_per_eur: {EUR: 1}}", "'CNY' or 'USD'"),
        ("{pinned_per_eur: {GBP: 0.87}}", "'CNY' or 'USD'"),
        ("{fetch: always}", "'never' or 'when_stale'"),
        ("{url: 'file:///etc/passwd'}", "should match pattern"),
        ("{pinned: {CNY: 7.8}}", "unknown key 'pinned' in rates; did you mean"),
        ("{stale_after_days: 0}", "greater than or equal to 1"),
    ],
)
def test_a_source_that_cannot_be_is_named_with_its_line(project: MakeProject, text: str, problem: str) -> None:
    with pytest.raises(ProjectError, match=r"config\.yaml:2: ") as caught:
        project(f"defaults: {{}}\nrates: {text}")
    assert problem in str(caught.value)


@given(
    nanos=some.integers(-(10**15), 10**15),
    cny=some.decimals("0.0001", "9999", places=4),
    usd=some.decimals("0.0001", "9999", places=4),
)
def test_an_amount_is_exact_far_beyond_a_nano_unit(nanos: int, cny: Decimal, usd: Decimal) -> None:
    source = {"pinned_per_eur": {"CNY": cny, "USD": usd}}
    rates = Rates(_project_of(source), TODAY)
    found = Fraction(rates.convert(Cost(nanos, "USD"), "CNY", TODAY).amount)
    exact = Fraction(nanos, 10**9) * Fraction(cny) / Fraction(usd)
    assert abs(found - exact) <= Fraction(1, 10**35)


def _project_of(source: object) -> Project:
    from llmtask.project import RateSource, load_project, starter_root

    starter = load_project(starter_root())
    return Project(starter.root, starter.config.model_copy(update={"rates": RateSource.model_validate(source)}))


def test_how_old_the_rates_may_be_is_the_configs(project: MakeProject) -> None:
    own = project("rates: {stale_after_days: 2}")
    store(own.config.rates.url, DAYS, None)
    newest = date(2026, 11, 24)
    found = [load_rates(own, today=newest + timedelta(days=days)).is_stale for days in (0, 2, 3)]
    assert found == [False, False, True]
