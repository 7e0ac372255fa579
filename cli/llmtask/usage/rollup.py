"""The rollup: what reports sum up, kept by triggers in the transaction that writes the row, whoever writes it.

A call that has ended counts once per level (1 hour, 1 day, 8, 64 and 512 days, in UTC) in `usage_sums`, under the
group of its words (`usage_groups`); its latencies are counts of rounded values in `usage_marks` (which are rounded by
`usage_scale`), its failure one in `usage_errors`; and it counts once per day and user in `usage_users`. Calls without
an end are in none of them: reports look for their rows.
"""

from collections.abc import Iterator, Sequence

from llmtask.errors import Failure

ROWS = "llm_usage_logs"
HOUR, DAY, DAYS_8, DAYS_64, DAYS_512 = range(5)
HOURS = (1, 24, 8 * 24, 64 * 24, 512 * 24)
"""What a period of each level holds. Its number is how many of its length have gone by since 1970."""

WORDS = (
    "task_template_id",
    "provider",
    "model_id",
    "tier",
    "queue_id",
    "service_id",
    "locale",
    "prompt_hash",
    "prompt_version",
    "currency",
)
"""The columns that make a group; empty where a row has none."""

SUMS = {
    "calls": "1",
    "failed": "CASE WHEN {row}is_success = 0 THEN 1 ELSE 0 END",
    "repaired": "CASE WHEN coalesce({row}repair_level, 'strict') <> 'strict' THEN 1 ELSE 0 END",
    "retries": "CASE WHEN {row}attempt > 1 THEN 1 ELSE 0 END",
    "estimated": "CASE WHEN {row}is_estimate = 1 THEN 1 ELSE 0 END",
    "unpriced": "CASE WHEN {row}cost_nanos IS NULL THEN 1 ELSE 0 END",
    "input_tokens": "{row}input_tokens",
    "cached_tokens": "{row}cached_tokens",
    "output_tokens": "{row}output_tokens",
    "reasoning_tokens": "{row}reasoning_tokens",
    "images": "{row}images",
    "latency_ms": "{row}latency_ms",
    "cost_nanos": "coalesce({row}cost_nanos, 0)",
    "saved_nanos": "coalesce({row}saved_nanos, 0)",
}
"""What is summed up of a row."""

LATENCY, FIRST_TOKEN = 0, 1
"""The kinds of marks."""

_FINISHED = f"coalesce({{row}}error_class, '') <> '{Failure.UNFINISHED.value}'"
_SLOWEST = 2**31


def mark(value: str) -> str:
    """SQL: a number of milliseconds rounded down to one of `usage_scale`."""
    return f"(SELECT coalesce(max(low), 0) FROM usage_scale WHERE low <= {value})"


def middle(marked: int) -> int:
    """The value that stands for all that have a mark: at most 1 % away from any of them."""
    return marked + marked // 100


def scale() -> Iterator[int]:
    """The marks: each is 2 % of itself and 1 below the next, so that those below 100 ms stand for themselves."""
    low = 0
    while low < _SLOWEST:
        yield low
        low += 2 * (low // 100) + 1


def finished(row: str = "") -> str:
    """SQL: whether a row's call has an end."""
    return _FINISHED.format(row=row)


def word(name: str, row: str = "") -> str:
    """SQL: a row's value of a word, empty where it has none."""
    return f"coalesce({row}{name}, '')"


def sums(row: str = "") -> list[str]:
    """SQL: what is summed up of a row, in the order of `SUMS`."""
    return [expression.format(row=row) for expression in SUMS.values()]


def tables(
    number: str = "INTEGER",
    identity: str = "INTEGER PRIMARY KEY",
    options: str = " WITHOUT ROWID",
    text: str = "TEXT",
) -> list[str]:
    """The statements that make the rollup's tables."""
    words = ", ".join(f"{name} {text} NOT NULL" for name in WORDS)
    counted = ", ".join(f"{name} {number} NOT NULL" for name in SUMS)
    place = f"level {number} NOT NULL, period {number} NOT NULL, group_id {number} NOT NULL"
    return [
        f"CREATE TABLE usage_scale (low {number} PRIMARY KEY)",
        f"INSERT INTO usage_scale (low) VALUES {', '.join(f'({low})' for low in scale())}",
        f"CREATE TABLE usage_groups (id {identity}, {words}, UNIQUE ({', '.join(WORDS)}))",
        f"CREATE TABLE usage_sums ({place}, {counted}, PRIMARY KEY (level, period, group_id)){options}",
        f"CREATE TABLE usage_marks ({place}, kind {number} NOT NULL, mark {number} NOT NULL, calls {number} NOT NULL, "
        f"PRIMARY KEY (level, period, group_id, kind, mark)){options}",
        f"CREATE TABLE usage_errors ({place}, error_class {text} NOT NULL, calls {number} NOT NULL, "
        f"PRIMARY KEY (level, period, group_id, error_class)){options}",
        f"CREATE TABLE usage_users (period {number} NOT NULL, user_id {text} NOT NULL, group_id {number} NOT NULL, "
        f"{counted}, PRIMARY KEY (period, user_id, group_id)){options}",
        f"CREATE TABLE usage_gaps (first {number} NOT NULL, last {number} NOT NULL)",
    ]


TABLES = ("usage_groups", "usage_sums", "usage_marks", "usage_errors", "usage_users")
GAPS = "usage_gaps"
"""Hours, from the first to the last, of which the rollup knows more than the rows: rows of theirs were removed."""


class Writer:
    """Writes the statements that count a row, or take it back; what else is not the same in every database."""

    text_columns = (
        "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p "
        "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND p.type = 'TEXT' "
        "UNION ALL SELECT 'sqlite_master', name FROM pragma_table_info('sqlite_master') WHERE type = 'TEXT'"
    )
    """SQL: table and column of everything that holds text."""
    settling = "PRAGMA wal_checkpoint(PASSIVE)"
    """SQL: what was written goes to where it stays; else it falls to whoever writes the thousandth page after it."""
    overwriting = "PRAGMA secure_delete = ON"
    """SQL: what this connection deletes from now on is overwritten."""

    def __init__(self, seconds: str) -> None:
        """Take SQL for an instant's seconds since 1970, of `{at}`, the text of it."""
        self._seconds = seconds

    def counting(self, row: str, sign: int) -> Iterator[str]:
        """The statements of a trigger.

        Args:
            row: `NEW.` or `OLD.`.
            sign: 1 counts the row, -1 takes it back.
        """
        words = ", ".join(word(name, row) for name in WORDS)
        same = " AND ".join(f"g.{name} = {word(name, row)}" for name in WORDS)
        names, added = ", ".join(SUMS), ", ".join(f"{sign} * {one}" for one in sums(row))
        more = ", ".join(f"{name} = {{table}}.{name} + excluded.{name}" for name in SUMS)
        once_more = "calls = {table}.calls + excluded.calls"
        at = f"{row}created_at"
        if sign > 0:
            yield (
                f"INSERT INTO usage_groups ({', '.join(WORDS)}) SELECT {words} "
                f"WHERE NOT EXISTS (SELECT 1 FROM usage_groups g WHERE {same}) ON CONFLICT DO NOTHING"
            )
        periods = f"({' UNION ALL '.join(self._levels(at))}) p"
        yield (
            f"INSERT INTO usage_sums (level, period, group_id, {names}) SELECT p.level, p.period, g.id, {added} "
            f"FROM usage_groups g CROSS JOIN {periods} WHERE {same} "
            f"ON CONFLICT (level, period, group_id) DO UPDATE SET {more.format(table='usage_sums')}"
        )
        times = (
            f"(SELECT {LATENCY} AS kind, {mark(f'{row}latency_ms')} AS mark "
            f"UNION ALL SELECT {FIRST_TOKEN}, {mark(f'{row}first_token_ms')} WHERE {row}first_token_ms IS NOT NULL) m"
        )
        yield (
            f"INSERT INTO usage_marks (level, period, group_id, kind, mark, calls) "
            f"SELECT p.level, p.period, g.id, m.kind, m.mark, {sign} "
            f"FROM usage_groups g CROSS JOIN {periods} CROSS JOIN {times} WHERE {same} "
            f"ON CONFLICT (level, period, group_id, kind, mark) "
            f"DO UPDATE SET {once_more.format(table='usage_marks')}"
        )
        yield (
            f"INSERT INTO usage_errors (level, period, group_id, error_class, calls) "
            f"SELECT p.level, p.period, g.id, {row}error_class, {sign} FROM usage_groups g CROSS JOIN {periods} "
            f"WHERE {row}error_class IS NOT NULL AND {same} ON CONFLICT (level, period, group_id, error_class) "
            f"DO UPDATE SET {once_more.format(table='usage_errors')}"
        )
        yield (
            f"INSERT INTO usage_users (period, user_id, group_id, {names}) "
            f"SELECT {self.period(at, DAY)}, {word('user_id', row)}, g.id, {added} FROM usage_groups g WHERE {same} "
            f"ON CONFLICT (period, user_id, group_id) DO UPDATE SET {more.format(table='usage_users')}"
        )

    def filling(self) -> Iterator[str]:
        """The statements that count every row that is there, into empty tables."""
        words = ", ".join(word(name) for name in WORDS)
        same = " AND ".join(f"g.{name} = {word(name, 'r.')}" for name in WORDS)
        totals = ", ".join(f"sum({one})" for one in sums("r."))
        names, source = ", ".join(SUMS), f"FROM {ROWS} r JOIN usage_groups g ON {same} WHERE {finished('r.')}"
        yield (f"INSERT INTO usage_groups ({', '.join(WORDS)}) SELECT DISTINCT {words} FROM {ROWS} WHERE {finished()}")
        for level in range(len(HOURS)):
            period = self.period("r.created_at", level)
            yield (
                f"INSERT INTO usage_sums (level, period, group_id, {names}) "
                f"SELECT {level}, {period}, g.id, {totals} {source} GROUP BY 2, 3"
            )
            for kind, value in ((LATENCY, "r.latency_ms"), (FIRST_TOKEN, "r.first_token_ms")):
                yield (
                    f"INSERT INTO usage_marks (level, period, group_id, kind, mark, calls) "
                    f"SELECT {level}, {period}, g.id, {kind}, {mark(value)}, count(*) {source} "
                    f"AND {value} IS NOT NULL GROUP BY 2, 3, 5"
                )
            yield (
                f"INSERT INTO usage_errors (level, period, group_id, error_class, calls) "
                f"SELECT {level}, {period}, g.id, r.error_class, count(*) {source} "
                f"AND r.error_class IS NOT NULL GROUP BY 2, 3, 4"
            )
        yield (
            f"INSERT INTO usage_users (period, user_id, group_id, {names}) SELECT {self.period('r.created_at', DAY)}, "
            f"{word('user_id', 'r.')}, g.id, {totals} {source} GROUP BY 1, 2, 3"
        )

    def uncounted(self) -> tuple[str, str]:
        """Two statements for one transaction: rows that are deleted between them stay in the rollup."""
        name = "usage_rollup_delete"
        return f"DROP TRIGGER {name}", next(one for one in sqlite_triggers() if f" {name} " in one)

    def seconds(self, at: str) -> str:
        """SQL: the seconds of an instant since 1970."""
        return self._seconds.format(at=at)

    def period(self, at: str, level: int) -> str:
        """SQL: the number of the period of an instant."""
        return f"{self.seconds(at)} / {3600 * HOURS[level]}"

    def _levels(self, at: str) -> Iterator[str]:
        for level in range(len(HOURS)):
            yield f"SELECT {level} AS level, {self.period(at, level)} AS period"


SQLITE = Writer("coalesce(CAST(strftime('%s', {at}) AS INTEGER), 0)")


def sqlite_triggers() -> Iterator[str]:
    """The statements that make SQLite's triggers."""

    def trigger(name: str, event: str, row: str, sign: int, when: str) -> str:
        body = "; ".join(SQLITE.counting(row, sign))
        return f"CREATE TRIGGER usage_rollup_{name} AFTER {event} ON {ROWS} WHEN {when} BEGIN {body}; END"

    new, old = finished("NEW."), finished("OLD.")
    yield trigger("insert", "INSERT", "NEW.", 1, new)
    yield trigger("delete", "DELETE", "OLD.", -1, old)
    yield trigger("update_old", "UPDATE", "OLD.", -1, old)
    yield trigger("update_new", "UPDATE", "NEW.", 1, new)


def unused() -> Sequence[str]:
    """The statements that remove what came to nothing."""
    return [f"DELETE FROM {table} WHERE calls = 0" for table in TABLES[1:]]
