"""What a call costs, by the dated prices of a project; and the prices themselves: shown, checked, imported."""

from llmtask.prices.cost import HolidayUnknownWarning, get_cost, get_provider
from llmtask.prices.tariffs import Tariff, price_name, tariff_at, tariffs

__all__ = ["HolidayUnknownWarning", "Tariff", "get_cost", "get_provider", "price_name", "tariff_at", "tariffs"]
