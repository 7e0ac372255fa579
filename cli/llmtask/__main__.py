"""`python -m llmtask`."""

from llmtask.main import main

main()
