"""terms: days, weeks and months of local time, on days on which the clocks change, too."""

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from llmtask.terms import Per, term_of, when


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("instant", "per", "zone", "name", "begin", "end"),
    [
        ("2026-11-25T01:00Z", "day", "Asia/Shanghai", "2026-11-25", "2026-11-24T16:00Z", "2026-11-25T16:00Z"),
        ("2026-11-24T15:59:59.999Z", "day", "Asia/Shanghai", "2026-11-24", "2026-11-23T16:00Z", "2026-11-24T16:00Z"),
        ("2026-11-25T01:00Z", "week", "Asia/Shanghai", "2026-W48", "2026-11-22T16:00Z", "2026-11-29T16:00Z"),
        ("2027-01-01T12:00Z", "week", "UTC", "2026-W53", "2026-12-28T00:00Z", "2027-01-04T00:00Z"),
        ("2026-11-25T01:00Z", "month", "Asia/Shanghai", "2026-11", "2026-10-31T16:00Z", "2026-11-30T16:00Z"),
        ("2026-11-30T16:00Z", "month", "Asia/Shanghai", "2026-12", "2026-11-30T16:00Z", "2026-12-31T16:00Z"),
        ("2028-02-29T23:59Z", "month", "UTC", "2028-02", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        # Days of 23 and of 25 hours.
        ("2026-03-29T12:00Z", "day", "Europe/Berlin", "2026-03-29", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("2026-10-25T12:00Z", "day", "Europe/Berlin", "2026-10-25", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # A midnight that the clocks skip, and one that they show twice.
        ("2026-09-06T12:00Z", "day", "America/Santiago", "2026-09-06", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        ("2026-04-05T12:00Z", "day", "America/Santiago", "2026-04-05", "2026-04-05T04:00Z", "2026-04-06T04:00Z"),
        ("2026-04-05T03:30Z", "day", "America/Santiago", "2026-04-04", "2026-04-04T03:00Z", "2026-04-05T04:00Z"),
        # A zone that is ahead by a part of an hour.
        ("2026-11-24T18:15Z", "day", "Asia/Kathmandu", "2026-11-25", "2026-11-24T18:15Z", "2026-11-25T18:15Z"),
    ],
)
def test_a_term_begins_and_ends_by_the_clock_of_its_zone(
    instant: str, per: Per, zone: str, name: str, begin: str, end: str
) -> None:
    term = term_of(at(instant), per, ZoneInfo(zone))
    assert (term.name, term.begin, term.end) == (name, at(begin), at(end))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@pytest.mark.parametrize("per", ["day", "week", "month"])
def test_terms_of_a_year_follow_each_other_without_gap_or_overlap(zone: str, per: Per) -> None:
    now, last = at("2011-06-01T00:00Z"), at("2012-06-01T00:00Z")  # Samoa left a day out in it
    before = term_of(now, per, ZoneInfo(zone))
    while now < last:
        term = term_of(now, per, ZoneInfo(zone))
        assert term.begin <= now < term.end
        if term != before:
            assert term.begin == before.end, (before, term)
        before, now = term, now + timedelta(hours=6)


def test_without_a_zone_it_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        term = term_of(at("2026-11-25T17:00Z"), "day")
        assert (term.name, term.begin) == ("2026-11-26", at("2026-11-25T16:00Z"))
        assert when(term.end) == "2026-11-27 00:00 CST"
    finally:
        monkeypatch.undo()
        time.tzset()
