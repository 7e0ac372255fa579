"""The tables of quotas, and of what is reserved for calls and runs that go on. Plain SQL, the same for every database.

An instant is a text as in the log; an amount of money is in nano-units, an amount of runs is a count.
"""

QUOTA_TABLES = ("quotas", "quota_free", "quota_reservations", "quota_history", "budget_reservations")
"""Each has a column `user_id`, empty for calls without one."""


def tables() -> list[str]:
    """The statements that make them."""
    whose = "user_id TEXT NOT NULL, service_id TEXT NOT NULL"
    return [
        # A user's quota for a service, empty for all services that have none of their own. `credit` is what is left to
        # spend, in `unit`: runs, or a currency's nano-units; what is reserved is no longer in it. `entries` counts the
        # lines of its history.
        f"CREATE TABLE quotas ({whose}, unit TEXT NOT NULL, credit BIGINT NOT NULL CHECK (credit >= 0), "
        "free_runs BIGINT NOT NULL CHECK (free_runs >= 0), free_per TEXT NOT NULL, entries BIGINT NOT NULL, "
        "PRIMARY KEY (user_id, service_id))",
        # How many free runs were taken of a day (2026-11-25) or a month (2026-11) of local time.
        f"CREATE TABLE quota_free ({whose}, period TEXT NOT NULL, used BIGINT NOT NULL CHECK (used >= 0), "
        "PRIMARY KEY (user_id, service_id, period))",
        # What a run holds until it ends: of the credit, or a free run of a period. Past `expires_at` it is given back.
        f"CREATE TABLE quota_reservations (run_id TEXT PRIMARY KEY, {whose}, tier TEXT NOT NULL, unit TEXT NOT NULL, "
        "amount BIGINT NOT NULL CHECK (amount >= 0), period TEXT NOT NULL, created_at TEXT NOT NULL, "
        "expires_at TEXT NOT NULL)",
        # Every change: `amount` is added to what is left (of the credit, or of the free runs of `period`) and `rest` is
        # what is left then. The amounts of a unit add up to the credit.
        f"CREATE TABLE quota_history ({whose}, number BIGINT NOT NULL, created_at TEXT NOT NULL, what TEXT NOT NULL, "
        "tier TEXT NOT NULL, unit TEXT NOT NULL, amount BIGINT NOT NULL, rest BIGINT NOT NULL, period TEXT NOT NULL, "
        "run_id TEXT NOT NULL, why TEXT NOT NULL, PRIMARY KEY (user_id, service_id, number))",
        # The most that a call in flight can cost. Past `expires_at` it counts no more.
        f"CREATE TABLE budget_reservations (call_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, {whose}, "
        "task_template_id TEXT NOT NULL, provider TEXT NOT NULL, model_id TEXT NOT NULL, currency TEXT NOT NULL, "
        "nanos BIGINT NOT NULL CHECK (nanos >= 0), created_at TEXT NOT NULL, expires_at TEXT NOT NULL)",
    ]
