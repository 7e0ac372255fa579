"""The ledger of a worker: rows, and what came of jobs, go to whoever began the batch, by way of the broker."""

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from llmtask.batch.job import Outcome
from llmtask.batch.remote.store import Store
from llmtask.service import StoppedError
from llmtask.tokens import Tokens
from llmtask.usage import UsageRow

_Opened: TypeAlias = "asyncio.Future[None]"


@dataclass
class _News:
    """What the broker has not yet."""

    opening: list[tuple[UsageRow, _Opened]] = field(default_factory=list)
    ended: list[UsageRow] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.opening or self.ended or self.outcomes)

    def before(self, later: "_News") -> "_News":
        return _News(self.opening + later.opening, self.ended + later.ended, self.outcomes + later.outcomes)


class RunLedger:
    """The ledger of one batch in one worker, which all jobs of the batch share.

    What came while it wrote goes in one message, and is there whatever ends the process.
    """

    def __init__(self, store: Store) -> None:
        """Take what the broker keeps of the batch."""
        self._store = store
        self._new = _News()
        self._writing = asyncio.Lock()

    async def begin(self, row: UsageRow, most: Tokens | None = None) -> None:  # noqa: ARG002  # as every ledger
        """Take the row of a call that is about to begin; the broker has it when this returns.

        Raises:
            StoppedError: The batch takes no more; the row is nowhere.
            BrokerError: The broker refuses.
        """
        opened: _Opened = asyncio.get_running_loop().create_future()
        self._new.opening.append((row.opened(), opened))
        await self.written()
        await opened

    def finish(self, row: UsageRow) -> None:
        """Take the row of a call that has ended."""
        self._new.ended.append(row)

    def end(self, outcome: Outcome) -> None:
        """Take what came of a job; the broker has its rows with it, or before."""
        self._new.outcomes.append(outcome)

    async def written(self) -> None:
        """Wait until the broker has what was taken; it may be away for a while.

        Raises:
            BrokerError: It refuses.
        """
        async with self._writing:
            if self._new.is_empty:
                return
            await asyncio.sleep(0)  # jobs that began together end together
            news, self._new = self._new, _News()
            try:
                why = await self._store.publish([row for row, _ in news.opening], news.ended, news.outcomes)
            except BaseException:
                self._new = news.before(self._new)  # rows are written once, by their ids; outcomes are told once
                raise
            for _, opened in news.opening:
                if opened.done():  # whoever wanted to call has gone; its row has an end to come
                    continue
                if why is None:
                    opened.set_result(None)
                else:
                    opened.set_exception(StoppedError(why))
