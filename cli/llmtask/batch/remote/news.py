"""What a worker tells of a batch beside its jobs: trouble to whoever began it, stops to the other workers."""

import json

from llmtask.batch.remote.sending import Sending
from llmtask.batch.remote.store import Kind, Store
from llmtask.errors import Failure


class News:
    """Tells it without waiting: a broker that is away hears it when it is back."""

    def __init__(self, store: Store, session: int) -> None:
        """Take what the broker keeps of the batch, and the session that it is about."""
        self._store, self._session = store, session
        self._sending = Sending()

    def alert(self, event: str, text: str) -> None:
        """Tell whoever began the batch what happened to a queue."""
        self._sending.send(self._store.say(Kind.ALERT, json.dumps({"event": event, "text": text})))

    def stopped(self, queue_id: str, why: str, failure: Failure) -> None:
        """Tell the other workers that a queue takes no more in this session."""
        self._sending.send(self._store.stop_queue(queue_id, why, failure, self._session))
