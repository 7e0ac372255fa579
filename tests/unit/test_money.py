"""money: exact amounts."""

from decimal import Decimal

from llmtask.money import Cost


def test_an_amount_is_a_decimal_without_rounding() -> None:
    assert Cost(1, "USD").amount == Decimal("0.000000001")
    assert Cost(1_234_567_890_123, "CNY").amount == Decimal("1234.567890123")
