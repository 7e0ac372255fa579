"""Thousands of runs of a task: a journal, limits that learn, outputs, resumable."""
