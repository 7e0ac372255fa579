"""The data access layer of quotas: in the usage log's database, each change one transaction with its line of history.

What is left is never below zero: the tables hold that, too. The amounts of a quota's history add up to what is left.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from llmtask.errors import UsageError
from llmtask.interrupts import held
from llmtask.project import Project, Tier
from llmtask.quota.amounts import Allowance, Quantity, Unit, quantity_text
from llmtask.quota.shapes import Entry, Grant, Quota, What
from llmtask.terms import term_of, when
from llmtask.usage import UsageLog, timestamp
from llmtask.usage.database import Connection
from llmtask.usage.log import stored
from llmtask.usage.spent import SKEW

_Found = TypeVar("_Found")
_Read = Callable[[str, Any], list[tuple[Any, ...]]]

_MOST = 9 * 10**18  # nano-units, or runs, that anybody may have: 64 bits hold a little more
_QUOTA = "SELECT user_id, service_id, unit, credit, free_runs, free_per FROM quotas"
_HELD = "SELECT run_id, user_id, service_id, tier, unit, amount, period, created_at, expires_at FROM quota_reservations"
_EXPIRED = f"{_HELD} WHERE expires_at <= ? OR created_at > ?"
_ENTER = (
    "INSERT INTO quota_history (created_at, user_id, service_id, number, what, tier, unit, amount, rest, period, "
    "run_id, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_HISTORY = (
    "SELECT created_at, user_id, service_id, number, what, tier, unit, amount, rest, period, run_id, why "
    "FROM quota_history WHERE user_id = ? AND (? = 1 OR service_id = ?) "
    "ORDER BY created_at DESC, service_id, number DESC LIMIT ?"
)
_EVERY = 10**12


class Quotas:
    """The quotas in a usage log."""

    def __init__(
        self, log: UsageLog, zone: tzinfo | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Take the log, whose days and months free runs are counted in (the local ones), and the clock, for tests."""
        self._log, self._zone, self._now = log, zone, now

    def find(self, user_id: str, service_id: str | None = None) -> Quota | None:
        """The quota that decides for a user and a service; None where there is none.

        What is held longer than its run can have lasted is given back first.

        Raises:
            UsageLogError: The log cannot be read.
        """
        if not self._log.query("SELECT 1 FROM quotas WHERE user_id = ? LIMIT 1", (stored(user_id),)):
            return None
        self._give_back_expired()
        return self._found(self._log.query, user_id, service_id)

    def all(self, user_id: str | None = None) -> list[Quota]:
        """Every quota, or every one of a user, by user and service.

        Raises:
            UsageLogError: The log cannot be read.
        """
        self._give_back_expired()
        where, values = (" WHERE user_id = ?", (stored(user_id),)) if user_id is not None else ("", ())
        rows = self._log.query(f"{_QUOTA}{where} ORDER BY user_id, service_id", values)
        return [self._quota(self._log.query, row) for row in rows]

    def set(
        self,
        user_id: str,
        service_id: str = "",
        *,
        credit: Quantity | None = None,
        free: Allowance | None = None,
        why: str = "",
    ) -> Quota:
        """Say what a user may spend; what is left out stays, or is nothing where there was no quota.

        Args:
            user_id: The user.
            service_id: The service; empty for all that have no quota of their own.
            credit: What is left to spend from now on; what runs in flight give back comes on top.
            free: The free runs.
            why: A word for the history.

        Raises:
            UsageError: The user has no name, or the unit cannot change while runs hold some of the credit.
            UsageLogError: It cannot be written.
        """
        _require_name(user_id)

        def work(connection: Connection) -> Quota:
            self._expire(connection)
            quota = self._made(connection, user_id, service_id, credit.unit if credit else "runs")
            if free is not None:
                connection.execute(
                    "UPDATE quotas SET free_runs = ?, free_per = ? WHERE user_id = ? AND service_id = ?",
                    (free.runs, free.per, quota.user_id, quota.service_id),
                )
            if credit is not None:
                self._set_credit(connection, quota, credit, why)
            return self._must_find(connection, user_id, service_id)

        return self._atomic(work)

    def add(self, user_id: str, quantity: Quantity, service_id: str = "", *, why: str = "") -> Quota:
        """Add to a user's credit.

        Raises:
            UsageError: The user has no name, the credit is in another unit, or would be too much.
            UsageLogError: It cannot be written.
        """
        _require_name(user_id)

        def work(connection: Connection) -> Quota:
            self._expire(connection)
            quota = self._made(connection, user_id, service_id, quantity.unit)
            if quota.unit != quantity.unit:
                if quota.credit or quota.reserved:
                    message = (
                        f"the credit of user {user_id!r} is in {quota.unit}; add {quota.unit}, or change it to "
                        f"{quantity.unit} with `llmtask quota set`"
                    )
                    raise UsageError(message)
                self._set_credit(connection, quota, Quantity(0, quantity.unit), why)
            if quota.credit + quantity.amount > _MOST:
                message = f"user {user_id!r} would have more than {quantity_text(_MOST, quantity.unit)}"
                raise UsageError(message)
            self._change(connection, _credit(quota, quantity.unit), "grant", quantity.amount, why)
            return self._must_find(connection, user_id, service_id)

        return self._atomic(work)

    def reserve(
        self,
        run_id: str,
        user_id: str,
        service_id: str | None,
        choose: Callable[[Quota], tuple[Tier, int]],
        life_s: float,
    ) -> Grant | None:
        """Hold what a run can cost, or a free run, until it ends; None where the user has no quota.

        Args:
            run_id: The run.
            user_id: The user.
            service_id: The service.
            choose: Chooses from what is left: the tier, and how much of the credit to hold. What it raises goes on up.
            life_s: When the run has ended at the latest; then what it holds is given back.

        Raises:
            UsageLogError: It cannot be written.
        """

        def work(connection: Connection) -> Grant | None:
            self._expire(connection)
            quota = self._found(_reader(connection), user_id, service_id)
            if quota is None:
                return None
            tier, amount = choose(quota)
            grant = _grant(run_id, quota, tier, amount)
            now = self._now()
            connection.execute(
                "INSERT INTO quota_reservations (run_id, user_id, service_id, tier, unit, amount, period, created_at, "
                "expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(run_id, quota.user_id, quota.service_id, tier, grant.unit, grant.amount, grant.period),
                    *(timestamp(now), timestamp(now + timedelta(seconds=life_s))),
                ),
            )
            self._change(connection, grant, "reserve", -grant.amount, "")
            return grant

        return self._atomic(work)

    def settle(self, grant: Grant, used: int, why: str = "") -> int:
        """Take what a run has used in place of what it held.

        Args:
            grant: What it held; where that has expired meanwhile, it is taken from what is left.
            used: What it used of the credit, in its unit; of a free run, 1 or 0.
            why: A word for the history.

        Returns:
            What was used and is not there to be taken: credit is never below zero.

        Raises:
            UsageLogError: It cannot be written.
        """

        def work(connection: Connection) -> int:
            was_held = grant.amount if _release(connection, grant.run_id) else 0
            rest = self._rest(connection, grant)
            if rest is None:  # the quota is gone
                return 0
            taken = min(used, max(rest, 0) + was_held)
            missing = used - taken
            short = f"{quantity_text(missing, grant.unit)} more were used than there were" if missing else ""
            self._change(connection, grant, "settle", was_held - taken, "; ".join(filter(None, (why, short))))
            return missing

        return self._atomic(work)

    def give_back(self, run_id: str, why: str) -> None:
        """Give back what a run holds that came to nothing; where it holds nothing, this does nothing.

        Raises:
            UsageLogError: It cannot be written.
        """

        def work(connection: Connection) -> None:
            for row in connection.execute(f"{_HELD} WHERE run_id = ?", (run_id,)).fetchall():
                grant = Grant(*row[:-2])
                _release(connection, run_id)
                self._change(connection, grant, "give_back", grant.amount, why)

        self._atomic(work)

    def history(self, user_id: str, service_id: str | None = None, count: int | None = None) -> list[Entry]:
        """What became of a user's quotas, the newest first.

        Args:
            user_id: The user.
            service_id: Of this quota alone; of all the user's where it is left out.
            count: No more than so many.

        Raises:
            UsageLogError: The log cannot be read.
        """
        self._give_back_expired()
        wanted = (
            stored(user_id),
            int(service_id is None),
            stored(service_id or ""),
            _EVERY if count is None else count,
        )
        return [Entry(*row) for row in self._log.query(_HISTORY, wanted)]

    def _atomic(self, work: Callable[[Connection], _Found]) -> _Found:
        with held():
            return self._log.atomic(work)

    def _give_back_expired(self) -> None:
        """Give back what is held too long; writes only where there is some."""
        if self._log.query(f"{_EXPIRED} LIMIT 1", self._past()):
            self._atomic(self._expire)

    def _past(self) -> tuple[str, str]:
        now = self._now()
        return timestamp(now), timestamp(now + SKEW)

    def _expire(self, connection: Connection) -> None:
        for *held_by, begun, expires in connection.execute(_EXPIRED, self._past()).fetchall():
            grant = Grant(*held_by)
            _release(connection, grant.run_id)
            too_new = begun > self._past()[1]
            why = f"held since {begun}, which is in the future" if too_new else f"the run was not heard of by {expires}"
            self._change(connection, grant, "expire", grant.amount, why)

    def _found(self, read: _Read, user_id: str, service_id: str | None) -> Quota | None:
        """The user's quota for the service, or else the one for all services."""
        services = list(dict.fromkeys((stored(service_id or ""), "")))
        marks = ", ".join("?" * len(services))
        sql = f"{_QUOTA} WHERE user_id = ? AND service_id IN ({marks}) ORDER BY service_id DESC"
        rows = read(sql, (stored(user_id), *services))
        return self._quota(read, rows[0]) if rows else None

    def _must_find(self, connection: Connection, user_id: str, service_id: str) -> Quota:
        rows = connection.execute(
            f"{_QUOTA} WHERE user_id = ? AND service_id = ?", (stored(user_id), stored(service_id))
        ).fetchall()
        return self._quota(_reader(connection), rows[0])

    def _made(self, connection: Connection, user_id: str, service_id: str, unit: Unit) -> Quota:
        """A user's quota for exactly a service; an empty one where there was none."""
        connection.execute(
            "INSERT INTO quotas (user_id, service_id, unit, credit, free_runs, free_per, entries) "
            "VALUES (?, ?, ?, 0, 0, 'day', 0) ON CONFLICT (user_id, service_id) DO NOTHING",
            (stored(user_id), stored(service_id), unit),
        )
        return self._must_find(connection, user_id, service_id)

    def _quota(self, read: _Read, row: Sequence[Any]) -> Quota:
        user_id, service_id, unit, credit, free_runs, free_per = row
        term = term_of(self._now(), free_per, self._zone)
        whose = (user_id, service_id)
        used = read(
            "SELECT used FROM quota_free WHERE user_id = ? AND service_id = ? AND period = ?", (*whose, term.name)
        )
        held_now = read(
            "SELECT coalesce(sum(amount), 0) FROM quota_reservations "
            "WHERE user_id = ? AND service_id = ? AND tier = 'paid'",
            whose,
        )
        return Quota(
            *whose,
            unit=unit,
            credit=int(credit),
            reserved=int(held_now[0][0]),
            free_runs=int(free_runs),
            free_used=int(used[0][0]) if used else 0,
            free_per=free_per,
            term=term,
            renews=when(term.end, self._zone),
        )

    def _set_credit(self, connection: Connection, quota: Quota, credit: Quantity, why: str) -> None:
        if credit.unit != quota.unit:
            if quota.reserved:
                message = (
                    f"runs in flight hold credit of user {quota.user_id!r} in {quota.unit}; try again when they end"
                )
                raise UsageError(message)
            if quota.credit:
                gone = f"the unit is {credit.unit} from here on"
                self._change(connection, _credit(quota, quota.unit), "set", -quota.credit, gone)
            connection.execute(
                "UPDATE quotas SET unit = ?, credit = 0 WHERE user_id = ? AND service_id = ?",
                (credit.unit, quota.user_id, quota.service_id),
            )
        before = quota.credit if credit.unit == quota.unit else 0
        self._change(connection, _credit(quota, credit.unit), "set", credit.amount - before, why)

    def _change(self, connection: Connection, of: Grant, what: What, amount: int, why: str) -> None:
        """Change what is left of a quota, where it is still there, and write the line of history that says so."""
        if self._rest(connection, of) is None:
            return
        key = (of.user_id, of.service_id)
        if of.tier == "paid":
            change = "UPDATE quotas SET credit = credit + ? WHERE user_id = ? AND service_id = ?"
            connection.execute(change, (amount, *key))
        else:
            connection.execute(
                "INSERT INTO quota_free (user_id, service_id, period, used) VALUES (?, ?, ?, 0) "
                "ON CONFLICT (user_id, service_id, period) DO NOTHING",
                (*key, of.period),
            )
            change = "UPDATE quota_free SET used = used - ? WHERE user_id = ? AND service_id = ? AND period = ?"
            connection.execute(change, (amount, *key, of.period))
        connection.execute("UPDATE quotas SET entries = entries + 1 WHERE user_id = ? AND service_id = ?", key)
        counted = "SELECT entries FROM quotas WHERE user_id = ? AND service_id = ?"
        [(number,)] = connection.execute(counted, key).fetchall()
        said = (what, of.tier, of.unit, amount, self._rest(connection, of), of.period, of.run_id, stored(why))
        connection.execute(_ENTER, (timestamp(self._now()), *key, number, *said))

    def _rest(self, connection: Connection, grant: Grant) -> int | None:
        """What is left of what a run holds something of; None where the quota is gone, or counts something else now."""
        rows = connection.execute(
            "SELECT unit, credit, free_runs FROM quotas WHERE user_id = ? AND service_id = ?",
            (grant.user_id, grant.service_id),
        ).fetchall()
        if not rows:
            return None
        unit, credit, free_runs = rows[0]
        if grant.tier == "paid":
            return int(credit) if unit == grant.unit else None
        used = connection.execute(
            "SELECT used FROM quota_free WHERE user_id = ? AND service_id = ? AND period = ?",
            (grant.user_id, grant.service_id, grant.period),
        ).fetchall()
        return int(free_runs) - (int(used[0][0]) if used else 0)


def quotas_of(project: Project, log: UsageLog) -> Quotas:
    """The quotas in a log, their free runs counted in the days and months that a project says."""
    rules = project.config.quota
    return Quotas(log, ZoneInfo(rules.timezone) if rules and rules.timezone else None)


def _reader(connection: Connection) -> _Read:
    return lambda sql, values: connection.execute(sql, values).fetchall()


def _release(connection: Connection, run_id: str) -> bool:
    """Hold no more for a run; False where nothing was held."""
    return connection.execute("DELETE FROM quota_reservations WHERE run_id = ?", (run_id,)).rowcount > 0


def _grant(run_id: str, quota: Quota, tier: Tier, amount: int) -> Grant:
    is_paid = tier == "paid"
    return Grant(
        run_id,
        quota.user_id,
        quota.service_id,
        tier,
        quota.unit if is_paid else "runs",
        amount if is_paid else 1,
        "" if is_paid else quota.term.name,
    )


def _credit(quota: Quota, unit: str) -> Grant:
    """A quota's credit, of which no run holds anything."""
    return Grant("", quota.user_id, quota.service_id, "paid", unit, 0, "")


def _require_name(user_id: str) -> None:
    """Refuse a user without a name: it would be everybody's whom nobody named.

    Raises:
        UsageError: There is none.
    """
    if not user_id:
        message = "a quota is a user's; name the user"
        raise UsageError(message)
