"""What sessions before have used that is in no sum yet: it counts once, whenever their clients were killed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmtask.batch.broker import Known
from llmtask.batch.job import Outcome, State
from llmtask.batch.remote.store import Store
from llmtask.money import Cost


@dataclass(frozen=True, slots=True)
class _Used:
    """What tries of a job have used that are no end of it."""

    outcome: Outcome
    ids: list[str]
    """Of the entries that say so: they are deleted when the journal has the sum."""


class Former:
    """What was told to sessions before, and used by jobs that are done again in this one."""

    def __init__(self, store: Store, known: Known | None) -> None:
        """Take what the broker keeps of the batch, and what the journal has."""
        self._store, self._known = store, known
        self._used: dict[str, _Used] = {}
        self._reopened: set[str] = set()
        self._untold: list[Cost] = []

    @property
    def costs(self) -> Sequence[Cost]:
        """What the journal's sum had not when this session began."""
        return [*self._untold, *(cost for used in self._used.values() for cost in used.outcome.costs)]

    async def count(self, entry_id: str, outcome: Outcome, session: int) -> None:
        """Count what came of a job before a session began, which counts what comes from then on by itself."""
        known = self._known
        is_later = int(entry_id.partition("-")[0]) >= session
        if not is_later and not (known is not None and await asyncio.to_thread(known.is_over, outcome.key)):
            self._untold += outcome.costs

    async def note(self, entry_id: str, outcome: Outcome) -> None:
        """Keep what a job has used that is to be done again: its outcome will count that."""
        if not outcome.calls or await self._was_told(entry_id):
            await self._store.drop([entry_id])
            return
        known = self._used.pop(outcome.key, None)
        before, ids = (known.outcome, known.ids) if known is not None else (None, [])
        self._used[outcome.key] = _Used(_undone(outcome).after(before), [*ids, entry_id])

    async def reopen(self, entry_id: str, outcome: Outcome, session: int) -> None:
        """Have a failed job done again in a session; what it has used stays, however often it was told."""
        used = _undone(outcome)
        if outcome.key in self._reopened or await self._was_told(entry_id):
            used = Outcome(outcome.key, State.PENDING)
        self._reopened.add(outcome.key)
        await self._store.reopen(entry_id, used, session)

    def added(self, outcome: Outcome, ids: list[str]) -> tuple[Outcome, list[str]]:
        """An outcome and its entries, with what its job used before."""
        used = self._used.pop(outcome.key, None)
        if used is not None:
            outcome, ids = outcome.after(used.outcome), [*used.ids, *ids]
        if used is not None or outcome.state is not State.DONE:
            outcome = replace(outcome, told=tuple(ids))
        return outcome, ids

    async def _was_told(self, entry_id: str) -> bool:
        return self._known is not None and await asyncio.to_thread(self._known.was_told, entry_id)


def _undone(outcome: Outcome) -> Outcome:
    """What a job has used that is to be done again."""
    return replace(outcome, state=State.PENDING, answer=None, failure=None)
