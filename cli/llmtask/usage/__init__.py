"""The usage log: rows, costs, reports. The only door to SQLite."""

from llmtask.usage.calls import LATEST, Calls, calls, run_of
from llmtask.usage.instants import instant, span
from llmtask.usage.log import DB_VARIABLE, Ledger, UsageLog, UsageLogWarning, data_folder, default_path, place_of
from llmtask.usage.report import GROUPS, TIMES, WORDS, GroupBy, Query, Report, Word, report
from llmtask.usage.row import UsageRow, new_id, timestamp
from llmtask.usage.statement import Asked, Day, Line, Statement, days_of, statement
from llmtask.usage.summary import Summary
from llmtask.usage.sync import Push, Synced

__all__ = [
    "DB_VARIABLE",
    "GROUPS",
    "LATEST",
    "TIMES",
    "WORDS",
    "Asked",
    "Calls",
    "Day",
    "GroupBy",
    "Ledger",
    "Line",
    "Push",
    "Query",
    "Report",
    "Statement",
    "Summary",
    "Synced",
    "UsageLog",
    "UsageLogWarning",
    "UsageRow",
    "Word",
    "calls",
    "data_folder",
    "days_of",
    "default_path",
    "instant",
    "new_id",
    "place_of",
    "report",
    "run_of",
    "span",
    "statement",
    "timestamp",
]
