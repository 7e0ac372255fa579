"""The garbage collector, for a while in which many small objects come and go."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (20_000, 20, 50)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """What is there now stays, and the many small objects of chats are not looked through so often."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
