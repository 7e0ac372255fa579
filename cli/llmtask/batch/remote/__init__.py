"""Carries a batch's jobs to workers on many machines: the one door to docket and Redis, opened when asked for.

Whoever may write to the broker may run code in its workers: docket unpickles what it reads. A broker belongs behind a
password, and into a network of one's own.
"""
