"""Whether a run is better or worse than another, or whether that cannot be told: paired by case, with exact tests."""

from collections.abc import Mapping

from llmtask.testing.compare.change import ALL, QUALITY, Change, Comparison, Kind, Moved, Pairing, Verdict
from llmtask.testing.compare.lines import changes, lines
from llmtask.testing.compare.pairing import account, is_answered, lone_names, moved, pair_up
from llmtask.testing.run import Outcome, Run

__all__ = ["ALL", "QUALITY", "Change", "Comparison", "Kind", "Moved", "Pairing", "Verdict", "compare"]


def compare(baseline: Run, run: Run, *, alpha: float = 0.05, pairs: Mapping[str, str] | None = None) -> Comparison:
    """Compare a run with its baseline, item by item and case by case.

    All repeats, locales and models of a case are one case: the tests take nothing else for independent. In a replayed
    or cached run, times and costs are those of when the answers were made. Times of two days also differ by the days.

    Args:
        baseline: The run to hold against.
        run: The run to judge; the baseline itself where `pairs` says what stands against what in it.
        alpha: In how many comparisons of equals, at most, any line may say better or worse.
        pairs: A model id or prompt version of the baseline, and the one of the run that stands against it. Left out
            where the runs have no item in common and one model each, or one prompt version each: these are paired.

    Raises:
        UsageError: Nothing can be paired, or a name is not there.
    """
    names = dict(pairs) if pairs else lone_names(baseline, run)
    paired = pair_up(baseline, run, names)
    answered = [pair for pair in paired if is_answered(pair)]
    return Comparison(
        baseline,
        run,
        alpha,
        names,
        changes(lines(answered), alpha),
        moved(answered, Outcome.PASSED, Outcome.FAILED),
        moved(answered, Outcome.FAILED, Outcome.PASSED),
        account(baseline, run, paired),
    )
