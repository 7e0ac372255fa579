"""batch.blocks: many at once where they come fast, and without delay where they come slowly."""

import threading
from collections.abc import Iterator

import pytest

from llmtask.batch.blocks import Blocks


def test_what_comes_fast_comes_in_full_blocks_in_its_order() -> None:
    found = list(Blocks(range(1050), 500, 5))
    assert [len(one) for one in found] == [500, 500, 50]
    assert [item for one in found for item in one] == list(range(1050))
    assert list(Blocks((), 500, 5)) == []


def test_what_comes_slowly_waits_for_nobody() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[int]:
        yield from (1, 2, 3)
        assert go_on.wait(30)
        yield 4

    blocks = iter(Blocks(slow(), 500, 0.1))
    assert next(blocks) == [1, 2, 3]
    go_on.set()
    assert next(blocks) == [4]
    assert next(blocks, None) is None


def test_an_error_comes_behind_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError

    blocks = iter(Blocks(broken(), 500, 5))
    assert next(blocks) == [1]
    with pytest.raises(ValueError):  # noqa: PT011  # it is the source's own
        next(blocks)


def test_who_leaves_early_lets_go_of_the_source_and_no_more_is_read_than_a_block_ahead() -> None:
    read: list[int] = []
    left = threading.Event()

    def endless() -> Iterator[int]:
        try:
            for number in range(10**9):
                read.append(number)
                yield number
        finally:
            left.set()

    blocks = iter(Blocks(endless(), 10, 5))
    assert next(blocks) == list(range(10))
    blocks.close()  # type: ignore[attr-defined]  # a generator has it
    assert left.wait(30)
    assert len(read) <= 22
