"""The usage log: rows, costs, reports. The only door to SQLite."""

from llmtask.usage.instants import instant, span
from llmtask.usage.log import DB_VARIABLE, Ledger, UsageLog, UsageLogWarning, default_path
from llmtask.usage.report import GROUPS, TIMES, WORDS, GroupBy, Query, Report, Word, report
from llmtask.usage.row import UsageRow, new_id, timestamp
from llmtask.usage.summary import Summary

__all__ = [
    "DB_VARIABLE",
    "GROUPS",
    "TIMES",
    "WORDS",
    "GroupBy",
    "Ledger",
    "Query",
    "Report",
    "Summary",
    "UsageLog",
    "UsageLogWarning",
    "UsageRow",
    "Word",
    "default_path",
    "instant",
    "new_id",
    "report",
    "span",
    "timestamp",
]
