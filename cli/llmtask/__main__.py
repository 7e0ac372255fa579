"""The program: `llmtask`, or `python -m llmtask`."""

import gc
import sys

from llmtask import interrupts


def main() -> None:
    """Run the command line, and let any signal end it in order, however early it comes."""
    try:
        try:
            interrupts.take()
            _run()
        finally:
            interrupts.leave()
            gc.freeze()  # else Python looks through all objects for cycles before it ends: 55 ms of every command
    except KeyboardInterrupt:
        sys.exit(interrupts.exit_code())


def _run() -> None:
    from llmtask.errors import ExitCode  # imports take a while: signals come first
    from llmtask.main import main as run

    try:
        run()
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:  # what Typer makes of any signal that comes before the command runs
            raise KeyboardInterrupt from end
        raise


if __name__ == "__main__":
    main()
