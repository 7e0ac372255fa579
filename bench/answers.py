"""The answer parser against others on the corpus of tests/corpus, and the time that it takes.

python bench/answers.py [--wrong]

One row per kind of answer: right / refused / wrong. Of an answer that must be refused, refusing it is right. Exits 1 if
llmtask reads one answer wrongly, or fewer than 95 % of the recoverable ones.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.parsers import PARSERS, Parse  # noqa: E402
from tests.corpus.case import Case, seeds, task_schema  # noqa: E402
from tests.corpus.cases import cases  # noqa: E402
from tests.corpus.wrapping import pretty  # noqa: E402

from llmtask.answer import InvalidError, Partial, read  # noqa: E402  # after the path
from llmtask.answer.repair import MOST_CHARS  # noqa: E402

LEAST_RIGHT = 0.95
MIB = 1024 * 1024
SLOWEST_S = 60
PACKAGES = {"json_repair": "json-repair", "LangChain": "langchain-core", "instructor": "instructor", "BAML": "baml-py"}
OUTCOMES = ("right", "refused", "wrong")
UNITS = {  # of adversarial texts: what is repeated up to 1 MiB
    "{ repeated": "{",
    "[ repeated": "[",
    '" repeated': '"',
    '{"a": repeated': '{"a":',
    "backslash repeated": "\\",
    "} repeated": "}",
    "<think> repeated": "<think>",
    "</think> repeated": "</think>",
    "``` repeated": "```",
    "```json and newline repeated": "```json\n",
    "full-width { repeated": "｛",
    "full-width “ repeated": "“",
    '{"match_score":1} repeated': '{"match_score":1}',
    "{} repeated": "{}",
    "{' repeated": "{'",
    "/* repeated": "/*",
    "comma repeated": ",",
    "spaces": " ",
}
JUNK = 'abc，“x” {"y": [1, \\" \' // '


def outcome(case: Case, parse: Parse) -> str:
    """What a parser makes of a case; whatever it raises counts as a refusal."""
    try:
        found = parse(case.text, task_schema(case.task)).model_dump(mode="json", by_alias=True)
    except (Exception, RecursionError):  # noqa: BLE001  # other people's parsers raise what they like
        return "right" if case.expected is None else "refused"
    return "right" if found == case.expected else "wrong"


def available() -> dict[str, Parse]:
    """The parsers whose packages are installed; says which are not."""
    found = {}
    for name, load in PARSERS.items():
        try:
            found[name] = load()
        except ImportError as error:
            print(f"left out, not installed: {name} ({error})")
    return found


def compared(parsers: dict[str, Parse]) -> dict[str, list[tuple[Case, str]]]:
    """Each parser's outcomes, in the order of the cases."""
    return {name: [(case, outcome(case, parse)) for case in cases()] for name, parse in parsers.items()}


def print_table(found: dict[str, list[tuple[Case, str]]]) -> None:
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for name, outcomes in found.items():
        for case, result in outcomes:
            group = "must refuse" if case.expected is None else "recoverable"
            for row in (f"{group}: {case.kind}", f"TOTAL {group}"):
                counts[row][name][result] += 1
    width = max(len(row) for row in counts) + 1
    print(f"{'right/refused/wrong':{width}} {'cases':>5} " + " ".join(f"{name:>18}" for name in found))
    for row in sorted(counts, key=lambda one: (one.startswith("TOTAL"), one.startswith("must"), one)):
        cells = ["/".join(str(counts[row][name][one]) for one in OUTCOMES) for name in found]
        size = counts[row][next(iter(found))].total()
        print(f"{row:{width}} {size:5} " + " ".join(f"{cell:>18}" for cell in cells))


def cpu_ms(call: Callable[[], object], rounds: int) -> float:
    """Median CPU time of a call, in milliseconds."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return statistics.median(times) * 1000


def valid_text(size: int) -> str:
    """A valid job_match of about so many bytes."""
    [seed] = [one for one in seeds() if one.task == "job_match" and one.locale == "en"]
    strengths = list(seed.value["strengths"])
    value = {**seed.value, "strengths": strengths}
    while len(pretty(value).encode()) < size:
        strengths.append(strengths[len(strengths) % 2])
    return pretty(value)


def adversarial() -> dict[str, str]:
    """Texts of 1 MiB (of characters), and broken ones just short enough to be mended, by what they are."""
    texts = {name: (unit * (MIB // len(unit) + 1))[:MIB] for name, unit in UNITS.items()}
    opened = '{"match_score": 85, "x": "'
    texts["a string without an end"] = (opened + JUNK * (MIB // len(JUNK)))[:MIB]
    texts["a string without an end, no quotes in it"] = (opened + "x" * MIB)[:MIB]
    texts["valid but for a string without an end"] = (valid_text(2048)[:-3] + " " + JUNK * (MIB // len(JUNK)))[:MIB]
    answer = json.dumps(seeds()[0].value)
    texts["valid answers of another task"] = (answer * (MIB // len(answer) + 1))[:MIB]
    room = MOST_CHARS - 100
    texts["64 KiB: a list of many strings, broken"] = '{"a": [' + ",".join(f'"{n}"' for n in range(room // 9)) + "],}"
    texts["64 KiB: a list of many lists, broken"] = '{"a": [' + "[]," * (room // 3) + "],}"
    texts["64 KiB: many keys, broken"] = '{"match_score": 1, ' + ",".join(f'"k{n}":1' for n in range(room // 11)) + ",}"
    texts["64 KiB: quotes inside a string"] = '{"overall_assessment": "' + 'x" ' * (room // 3) + '",}'
    return texts


def _timed(text: str, sender: Connection) -> None:
    begun = time.process_time()
    try:
        read(text, task_schema("job_match"))
    except InvalidError:
        pass
    except Exception as error:  # noqa: BLE001  # it is what the bench is to show
        sender.send((time.process_time() - begun, f"CRASHES: {error!r:.80}"))
        return
    sender.send((time.process_time() - begun, ""))


def adversarial_s(text: str) -> tuple[float, str]:
    """CPU seconds that a text takes, in a process of its own that is stopped when it takes too long."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_timed, args=(text, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(SLOWEST_S) else (SLOWEST_S, "stopped")
    except EOFError:
        return 0.0, "CRASHES the process"
    finally:
        process.kill()
        process.join()


def partial_ms() -> float:
    """CPU time of taking an answer of 12 kB in pieces of 8 bytes' worth of characters."""
    text = valid_text(12 * 1024)

    def fed() -> None:
        partial = Partial()
        for start in range(0, len(text), 8):
            partial.feed(text[start : start + 8])

    return cpu_ms(fed, 3)


def print_times() -> None:
    schema = task_schema("job_match")
    plain = valid_text(2048)
    print(f"\nread, valid, 2 kB:                    {cpu_ms(lambda: read(plain, schema), 500):8.3f} ms CPU (median)")
    fenced = f"Here:\n```json\n{plain}\n```\n"
    if _reads(fenced):
        print(f"read, valid in a fence, in prose:     {cpu_ms(lambda: read(fenced, schema), 200):8.3f} ms CPU (median)")
    broken = plain.replace('": ', '"： ').replace("}\n", "},\n")
    if _reads(broken):
        print(f"read, wide colons, commas too many:   {cpu_ms(lambda: read(broken, schema), 100):8.3f} ms CPU (median)")
    print(f"Partial, 12 kB in pieces of 8, whole: {partial_ms():8.1f} ms CPU (median)")
    times = {name: adversarial_s(text) for name, text in adversarial().items()}
    print(f"\nread, adversarial, 1 MiB, CPU s (64 KiB where it says so; stopped after {SLOWEST_S} s):")
    for name, (seconds, note) in sorted(times.items(), key=lambda one: -one[1][0]):
        print(f"  {name:42} {seconds:8.3f} {note}")
    worst = max(times, key=lambda name: times[name][0])
    print(f"worst: {worst}, {times[worst][0]:.3f} s")


def _reads(text: str) -> bool:
    try:
        read(text, task_schema("job_match"))
    except InvalidError:
        return False
    return True


def print_versions() -> None:
    for distribution in PACKAGES.values():
        try:
            print(f"{distribution} {importlib.metadata.version(distribution)}", end="; ")
        except importlib.metadata.PackageNotFoundError:
            continue
    print(f"Python {sys.version.split()[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true", help="list the cases that llmtask does not get right")
    parser.add_argument("--only-llmtask", action="store_true", help="leave the other parsers and the times out")
    arguments = parser.parse_args()
    parsers = available()
    if arguments.only_llmtask:
        parsers = {"llmtask": parsers["llmtask"]}
    found = compared(parsers)
    print_versions()
    print_table(found)
    own = found["llmtask"]
    if arguments.wrong:
        for case, result in own:
            if result != "right":
                print(f"{result}: {case.id}")
    if not arguments.only_llmtask:
        print_times()
    recoverable = [result for case, result in own if case.expected is not None]
    share = recoverable.count("right") / len(recoverable)
    wrong = [case.id for case, result in own if result == "wrong"]
    print(
        f"\nllmtask: {share:.1%} of the recoverable right (at least {LEAST_RIGHT:.0%}), {len(wrong)} wrong (at most 0)"
    )
    sys.exit(1 if wrong or share < LEAST_RIGHT else 0)


if __name__ == "__main__":
    main()
