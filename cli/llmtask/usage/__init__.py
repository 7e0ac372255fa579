"""The usage log: rows, costs, reports. The only door to SQLite."""

from llmtask.usage.log import DB_VARIABLE, Ledger, UsageLog, UsageLogWarning, default_path
from llmtask.usage.report import GROUPS, GroupBy, Report, Summary, instant, report
from llmtask.usage.row import UsageRow, new_id, timestamp

__all__ = [
    "DB_VARIABLE",
    "GROUPS",
    "GroupBy",
    "Ledger",
    "Report",
    "Summary",
    "UsageLog",
    "UsageLogWarning",
    "UsageRow",
    "default_path",
    "instant",
    "new_id",
    "report",
    "timestamp",
]
