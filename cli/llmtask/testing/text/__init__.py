"""Checks on single strings of an answer: their language, their place in the input, the facts they name.

Each takes a while to import, and few suites make all of them: whoever needs one names its module.
"""
