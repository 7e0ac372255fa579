"""Suites of cases: are the answers still valid, good, cheap, in the right language?"""
