"""A suite replayed without pytest, all else as `llmtask test --replay` does it: the same run, record and matrix.

python bench/peers/library.py SUITE CASSETTES
"""

import sys
from pathlib import Path

from llmtask.project import load_project
from llmtask.testing import Options, Session, Store, items_of, load_suite, store_path
from llmtask.usage import UsageLog
from llmtask.view.suites import Watch, show_run


def replay(suite: Path, tapes: Path) -> None:
    project, watch = load_project(), Watch()
    items = [*items_of(project, [load_suite(project, suite)])]
    store = Store(store_path(project))
    session = Session(project, items, Options(replay=tapes), store=store, log=UsageLog())
    watch.begin(session)
    session.start()
    run = session.finish()
    watch.end()
    store.close()
    show_run(run)


if __name__ == "__main__":
    replay(Path(sys.argv[1]), Path(sys.argv[2]))
