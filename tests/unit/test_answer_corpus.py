"""answer.read against the corpus: what may be read is read, and nothing else ever is."""

from collections import Counter
from functools import cache
from typing import Any

import pytest

from llmtask.answer import InvalidError, read
from tests.corpus.case import Case, task_schema
from tests.corpus.cases import cases

RECOVERABLE = [one for one in cases() if one.expected is not None]
REFUSED = [one for one in cases() if one.expected is None]


BY_ID = {one.id: one for one in cases()}


def found(case: Case) -> dict[str, Any] | None:
    """What is read out of a case's text; None if it is refused."""
    return _found(case.id)


@cache
def _found(case_id: str) -> dict[str, Any] | None:
    case = BY_ID[case_id]
    try:
        return read(case.text, task_schema(case.task)).data.model_dump(mode="json", by_alias=True)
    except InvalidError:
        return None


@pytest.mark.parametrize("kind", sorted({one.kind for one in REFUSED}))
def test_what_holds_no_sure_answer_is_refused(kind: str) -> None:
    assert [one.id for one in REFUSED if one.kind == kind and found(one) is not None] == []


@pytest.mark.parametrize("kind", sorted({one.kind for one in RECOVERABLE}))
def test_an_answer_is_read_as_what_it_says_or_not_at_all(kind: str) -> None:
    assert [one.id for one in RECOVERABLE if one.kind == kind and found(one) not in (one.expected, None)] == []


def test_nearly_every_recoverable_answer_is_read() -> None:
    kinds = Counter(one.kind for one in RECOVERABLE if found(one) is None)
    assert sum(kinds.values()) <= 0.05 * len(RECOVERABLE), kinds


def test_the_corpus_is_large_and_covers_every_task_and_locale_both_ways() -> None:
    assert len(cases()) >= 300
    assert len({one.id for one in cases()}) == len(cases())
    every = {(one.task, one.locale) for one in cases()}
    assert len(every) == 12
    assert {(one.task, one.locale) for one in RECOVERABLE} == every == {(one.task, one.locale) for one in REFUSED}


def test_the_corpus_expects_what_the_schemas_dump() -> None:
    for case in RECOVERABLE:
        value = task_schema(case.task).model_validate(case.expected)
        assert value.model_dump(mode="json", by_alias=True) == case.expected, case.id
