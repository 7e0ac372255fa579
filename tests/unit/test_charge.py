"""service.charge: a call's cost, and what the vendor's cache saved of it."""

from datetime import UTC, datetime

from llmtask.money import Cost
from llmtask.project import Project
from llmtask.service.charge import Charge, charge
from llmtask.tokens import Tokens
from tests.conftest import MakeProject

AT = datetime(2026, 11, 23, tzinfo=UTC)
PRICES = (
    "models: {offline: {price: fees}}\n"
    "prices: {fees: [{effective_from: 2024-01-01, lists: {CNY: {cache_hit: 0.02, cache_miss: 1, output: 4,"
    " image: 0.0013}}}]}"
)


def priced(make: MakeProject) -> Project:
    return make(PRICES)


def test_what_the_cache_saved_is_the_cost_without_hits_minus_the_cost(project: MakeProject) -> None:
    found = charge(priced(project), "offline", Tokens(input=1000, output=100, cached=600), AT, images=2)
    cost = 600 * 20 + 400 * 1000 + 100 * 4000 + 2 * 1_300_000
    assert found == Charge(Cost(cost, "CNY"), 600 * 980)


def test_without_hits_nothing_is_saved_which_is_not_unknown(project: MakeProject) -> None:
    assert charge(priced(project), "offline", Tokens(input=1), AT) == Charge(Cost(1000, "CNY"), 0)


def test_of_an_unpriced_call_nothing_is_known(project: MakeProject) -> None:
    own = project("models: {deepseek-chat: {price: null}}")
    assert charge(own, "deepseek-chat", Tokens(input=9, cached=5), AT) == Charge(None, None)


def test_a_call_that_used_nothing_pays_for_no_image(project: MakeProject) -> None:
    assert charge(priced(project), "offline", Tokens(), AT, images=3) == Charge(Cost(0, "CNY"), 0)
