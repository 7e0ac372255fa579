"""The program: `llmtask`, or `python -m llmtask`."""

import sys

from llmtask import interrupts


def main() -> None:
    """Run the command line, and let any signal end it in order, however early it comes."""
    try:
        try:
            interrupts.take()
            from llmtask.main import main as run  # the imports take a while: signals come first

            run()
        finally:
            interrupts.leave()
    except KeyboardInterrupt:
        sys.exit(interrupts.exit_code())


if __name__ == "__main__":
    main()
