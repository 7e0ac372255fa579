"""The words of the reports in English and Chinese, and numbers as both write them."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

from llmtask.money import Cost, amount_text
from llmtask.testing.compare import QUALITY, Change, Kind, Verdict

Language = Literal["en", "zh"]

_RATES = (Kind.PASSES, Kind.CHECK)
_PLACES = {"points": 1, "ms": 0, "tokens": 1, "": 3}
"""Decimals of a comparison's units that are no currency."""
_SUFFIXES = {"points": "%", "ms": " ms"}

WORDS: dict[str, tuple[str, str]] = {
    # outcomes
    "passed": ("passed", "通过"),
    "failed": ("failed", "未通过"),
    "error": ("error", "出错"),
    "capped": ("capped", "超出预算"),
    "skipped": ("skipped", "跳过"),
    "passed_means": ("good answers", "回答合格"),
    "failed_means": ("bad answers", "回答不合格"),
    "error_means": ("no answer", "没有得到回答"),
    "capped_means": ("money was spent", "预算用完，未提问"),
    "skipped_means": ("not asked", "未提问"),
    # the head
    "test_report": ("test report", "测试报告"),
    "test": ("llmtask test", "llmtask 测试"),
    "began": ("Began", "开始"),
    "took": ("took", "用时"),
    "broken_off": ("broken off", "中途停止"),
    "paid": ("Paid", "实付"),
    "settings": ("Settings", "设置"),
    "run_id": ("Run", "编号"),
    "nothing": ("Nothing was asked: the run has no items.", "没有提问：这次运行没有测试项。"),
    "all_good": ("All of {items:item} passed.", "{items} 项全部通过。"),
    "some_bad": ("{failed} of {items:item} failed.", "{items} 项中有 {failed} 项未通过。"),
    "none_bad": ("No item failed.", "没有未通过的项。"),
    "some_missing": ("{count} without an answer, in no rate.", "{count} 项出错、没有回答，不计入比率。"),
    "some_unasked": ("{count} not asked.", "{count} 项未提问。"),
    "rate_of_all": (
        "{rate} of {of:answer} are good (95% interval {low} to {high}).",
        "{of} 个回答中 {rate} 合格（95% 置信区间 {low} 至 {high}）。",
    ),
    "not_all_asked": ("The run was broken off: some items may be missing.", "运行中途停止，可能缺少部分测试项。"),
    "theme": ("Colours", "配色"),
    "auto": ("Auto", "自动"),
    "light": ("Light", "浅色"),
    "dark": ("Dark", "深色"),
    "language": ("Language", "语言"),
    "contents": ("Contents", "目录"),
    "to_cases": ("Skip to the cases", "跳到用例"),
    # the matrix
    "matrix": ("Models, locales, checks", "模型 × 语言 × 检查"),
    "matrix_note": (
        "Share of answers with its 95% interval; items without an answer are in no share.",
        "回答的比率及其 95% 置信区间；没有得到回答的项不计入。",
    ),
    "all": ("all", "全部"),
    "items": ("Items", "测试项"),
    "outcomes": ("Outcomes", "结果"),
    "passes": ("Good answers", "合格的回答"),
    "all_passed": ("Every repeat passed", "每次重复都通过"),
    "pass_k": ("pass^k", "pass^k"),
    "score": ("Score", "得分"),
    "checks": ("Checks", "检查"),
    "money_and_time": ("Money and time", "费用与时间"),
    "cost": ("Cost", "费用"),
    "unpriced": ("{count:call} unpriced", "{count} 次调用无价格"),
    "latency": ("Latency p50", "延迟 p50"),
    "latency_one": ("Latency", "延迟"),
    "repeats": ("Repeats", "重复"),
    "prompt": ("Prompt", "提示词版本"),
    "latency_p95": ("Latency p95", "延迟 p95"),
    "first_token": ("First token p50", "首字 p50"),
    "tokens": ("Tokens in / out", "token 输入 / 输出"),
    "input_tokens": ("Input tokens", "输入 token"),
    "output_tokens": ("Output tokens", "输出 token"),
    "retries": ("Retries", "重试"),
    "measure": ("Measure", "指标"),
    # plots
    "plots": ("At a glance", "一览"),
    "plot_passes": ("Good answers", "合格的回答"),
    "plot_passes_note": ("dot: share · line: 95% interval", "圆点：比率 · 横线：95% 置信区间"),
    "plot_passes_k": (
        "dot: share · line: 95% interval · diamond: every repeat passed",
        "圆点：比率 · 横线：95% 置信区间 · 菱形：每次重复都通过",
    ),
    "plot_cost": ("Cost per sample", "每次费用"),
    "plot_cost_note": ("all calls made for it, retries too", "为它发出的全部调用，包括重试"),
    "plot_latency": ("Latency", "延迟"),
    "plot_latency_note": ("bar: p50 · line: to p95", "条：p50 · 横线：至 p95"),
    # failures
    "failures": ("What failed", "未通过的检查"),
    "failures_note": ("An answer counts for every check that it failed.", "一个回答可计入多项检查。"),
    "answers": ("answers", "个回答"),
    "more": ("and {count} more", "另有 {count} 个"),
    "show_cases": ("show these", "只看这些"),
    "missing": ("Without an answer", "没有得到回答"),
    "missing_note": (
        "No bad answers, but no answers either: they are in no rate and no mean.",
        "这些不算不合格，只是没有回答：不计入任何比率和平均值。",
    ),
    "reason": ("Reason", "原因"),
    "examples": ("Examples", "示例"),
    "check": ("Check", "检查"),
    "count": ("Count", "数量"),
    # the comparison
    "comparison": ("Against the baseline", "与基线比较"),
    "against": (
        "Baseline {baseline}: {items:item} of {cases:case} answered on both sides.",
        "基线 {baseline}：{cases} 个用例的 {items} 项在两边都有回答。",
    ),
    "comparison_note": (
        "Paired by case; p by Holm over all lines, so that of equal runs at most {alpha} show any better or worse.",
        "按用例配对；p 值经 Holm 校正：两次相同的运行中，至多 {alpha} 会出现“变好”或“变差”。",
    ),
    "interval_note": ("the line's 95% interval; the mark is no change", "该行的 95% 置信区间；竖线为无变化"),
    "what": ("What", "内容"),
    "group": ("Of", "范围"),
    "baseline": ("Baseline", "基线"),
    "this_run": ("This run", "本次"),
    "effect": ("Change", "变化"),
    "interval": ("95% interval", "95% 区间"),
    "verdict": ("Verdict", "结论"),
    "to_tell": ("What would tell", "怎样才能判断"),
    "better": ("better", "变好"),
    "worse": ("worse", "变差"),
    "cannot_tell": ("cannot tell", "无法判断"),
    "kind_pass": ("good answers", "合格的回答"),
    "kind_score": ("score", "得分"),
    "kind_latency": ("latency", "延迟"),
    "kind_cost": ("cost", "费用"),
    "kind_tokens": ("output tokens", "输出 token"),
    "told_more_cases": ("about {count:more case} would", "再有约 {count} 个用例即可"),
    "told_split": ("most go one way and the mean the other", "多数与平均值方向相反"),
    "told_same": ("none of {count:case} differs", "{count} 个用例均无差异"),
    "told_too_few": ("too few with {count:case}", "{count} 个用例太少"),
    "told_detectable": ("a change of {change} would", "{change} 的变化即可"),
    "nothing_to_compare": (
        "Nothing to compare: no item has an answer on both sides.",
        "无可比较：没有任何一项在两边都有回答。",
    ),
    "quality_worse": ("Worse than the baseline.", "比基线差。"),
    "quality_better": ("Better than the baseline.", "比基线好。"),
    "quality_mixed": ("Better in part, worse in part than the baseline.", "与基线相比有好有坏。"),
    "quality_same": ("No difference in quality from the baseline can be told.", "看不出与基线在质量上的差别。"),
    "slower": ("Slower.", "更慢。"),
    "dearer": ("Dearer.", "更贵。"),
    "faster": ("Faster.", "更快。"),
    "cheaper": ("Cheaper.", "更便宜。"),
    "broken": ("Broken", "退步"),
    "mended": ("Mended", "修复"),
    "broken_means": ("passed in the baseline, failed now", "基线中通过，现在未通过"),
    "mended_means": ("failed in the baseline, passed now", "基线中未通过，现在通过"),
    "moved_note": ("Of equal runs some items move, too.", "两次相同的运行之间也会有项变动。"),
    "moved_cut": ("The first {shown} of {count} are shown.", "仅显示 {count} 项中的前 {shown} 项。"),
    "no_answer_here": ("no answer kept", "没有保存回答"),
    "left_out": ("Left out or different", "未计入或有差异"),
    "only_in_baseline": ("only in the baseline", "仅在基线中"),
    "only_in_run": ("only in this run", "仅在本次中"),
    "unanswered": ("without an answer on a side", "有一边没有回答"),
    "samples_left_out": ("answers whose repeat has none on the other side", "另一边没有对应重复的回答"),
    "changed_inputs": ("compared, though asked something else", "输入已改变，仍作比较"),
    "checks_left_out": ("checks only on one side", "仅一边有的检查"),
    # cases
    "cases": ("Cases", "用例"),
    "cases_note": ("Failures first, then what has no answer.", "先列未通过的，再列没有回答的。"),
    "budget_note": (
        "To keep the page usable, cases are shown whole up to {budget:character} in all, failures first: {count} of "
        "{items:item} take one line each. The run document (llmtask test --json FILE) has them all.",
        "为使页面可用，完整内容合计以 {budget} 字为限，未通过的优先：{items} 项中有 {count} 项只显示一行。"
        "全部内容见运行记录（llmtask test --json FILE）。",
    ),
    "filter": ("Filter", "筛选"),
    "outcome": ("Outcome", "结果"),
    "model": ("Model", "模型"),
    "locale": ("Locale", "语言"),
    "failed_check": ("Failed check", "未通过的检查"),
    "any": ("any", "不限"),
    "text": ("Text", "文字"),
    "clear": ("Clear", "清除"),
    "shown_of": ("shown of", "项显示，共"),
    "none_shown": ("No item fits the filter.", "没有符合筛选条件的项。"),
    "open_all": ("Open all", "全部展开"),
    "close_all": ("Close all", "全部收起"),
    "inputs": ("Input", "输入"),
    "characters": ("{count:character}", "{count} 字"),
    "cut_off": ("… {count:more character}", "……另有 {count} 字"),
    "raw_answer": ("Raw answer: it does not fit the schema", "原始回答：不符合 schema"),
    "repeat": ("Repeat {count}", "第 {count} 次"),
    "passed_of": ("{passed}/{of} passed, {wanted} must", "{passed}/{of} 次通过，至少须 {wanted} 次"),
    "no_reason": ("no reason given", "未说明原因"),
    "source": ("Source", "来源"),
    "called": ("called", "调用"),
    "cached": ("cached", "缓存"),
    "replayed": ("replayed", "回放"),
    "finish": ("Finish", "结束原因"),
    "repair": ("Repair", "修复"),
    "upstream": ("Answered by", "实际模型"),
    "calls": ("Calls", "调用次数"),
    "first": ("First token", "首字"),
    "not_whole": ("The whole of it is in the run document.", "完整内容见运行记录。"),
    # Markdown
    "failed_answers": ("{count:answer}", "{count} 个回答"),
    "checks_more": ("… and {count:more check}; the page has them all.", "……另有 {count} 项检查，见完整报告。"),
    "items_more": ("… and {count:more item}; the page has them all.", "……另有 {count} 项，见完整报告。"),
    "rows_more": ("… and {count:more line}; the page has them all.", "……另有 {count} 行，见完整报告。"),
    "columns_more": ("{count:more column} on the page.", "另有 {count} 列，见完整报告。"),
    "all_lines": ("All {count:line}", "全部 {count} 行"),
    "latencies": ("Latency p50 / p95", "延迟 p50 / p95"),
}
"""Per key the English and the Chinese; `{name}` stands for a value."""


class Count(int):
    """A number that a phrase writes with its noun: `{count:case}` is `1 case` or `1,200 cases`."""

    def __format__(self, noun: str) -> str:
        """The number, and the noun in the right number."""
        number = format(int(self), ",")
        return f"{number} {noun}{'' if self == 1 else 's'}" if noun else number


def counted(values: Mapping[str, object]) -> dict[str, object]:
    """The values of a phrase, whole numbers as a phrase writes them."""
    return {name: Count(value) if isinstance(value, int) else value for name, value in values.items()}


def say(language: Language, key: str, **values: object) -> str:
    """A phrase in a language."""
    return WORDS[key][language == "zh"].format(**counted(values))


def percent(value: float) -> str:
    """A share: `92%`; `99.9%` where a whole number would say that it is all."""
    whole = round(100 * value)
    if whole in (0, 100) and value not in (0, 1):
        return f"{min(max(100 * value, 0.1), 99.9):.1f}%"
    return f"{whole}%"


def costs(amounts: Iterable[Cost]) -> str:
    """Amounts, one per currency; a dash where there is none."""
    return " + ".join(amount_text(cost.amount, cost.currency) for cost in amounts) or "–"


def seconds(milliseconds: float) -> str:
    """A duration, such as 0.42 s or 12.4 s."""
    value = milliseconds / 1000
    return f"{value:.2f} s" if value < 10 else f"{value:,.1f} s"


def amount(value: float, unit: str, *, signed: bool = False) -> str:
    """A number of a comparison with its unit: `92.5%`, `1,240 ms`, `¥0.001812`, `312.4`, `0.917`.

    Args:
        value: In the unit.
        unit: As `Change.unit` has it; `points` are percentage points where it is signed.
        signed: Whether it is a difference.
    """
    size = abs(value) if signed else value
    if unit in _PLACES:
        text = f"{size:,.{_PLACES[unit]}f}{_SUFFIXES.get(unit, '')}"
    else:
        text = amount_text(Decimal(f"{size:.6f}"), unit)
    text = text.replace("%", " pp") if signed else text
    return f"{_sign(value, text)}{text}" if signed else text


def interval(change: Change) -> str:
    """The interval of a change, in its unit without naming it: `−38.6 … −17.4`."""
    places = _PLACES.get(change.unit, 6)
    ends = ((value, f"{abs(value):,.{places}f}") for value in (change.low, change.high))
    return " … ".join(f"{_sign(value, text)}{text}" for value, text in ends)


def _sign(value: float, text: str) -> str:
    """None where the number is written as nothing but zeros."""
    if not any(digit in text for digit in "123456789"):
        return ""
    return "−" if value < 0 else "+"


def told(change: Change) -> tuple[str, dict[str, object]] | None:
    """What a line that cannot tell says besides: a key of WORDS and its values."""
    if change.verdict is not Verdict.CANNOT_TELL:
        return None
    count = {"count": change.pairs}
    if change.more_cases is not None:
        return "told_more_cases", {"count": change.more_cases}
    if change.is_split:
        return "told_split", {}
    if change.kind not in _RATES and not change.up and not change.down:
        return "told_same", {**count}
    if change.detectable is None:
        return "told_too_few", {**count}
    return "told_detectable", {"change": amount(change.detectable, change.unit, signed=True).lstrip("+")}


def conclusions(changes: Iterable[Change]) -> list[str]:
    """What a comparison comes to, as keys of WORDS."""
    changes = list(changes)
    if not changes:
        return ["nothing_to_compare"]
    quality = {change.verdict for change in changes if change.kind in QUALITY}
    found = {
        (True, True): "quality_mixed",
        (True, False): "quality_worse",
        (False, True): "quality_better",
        (False, False): "quality_same",
    }[Verdict.WORSE in quality, Verdict.BETTER in quality]
    said = [found]
    for verdict, slow, dear in ((Verdict.WORSE, "slower", "dearer"), (Verdict.BETTER, "faster", "cheaper")):
        kinds = {change.kind for change in changes if change.verdict is verdict}
        said += [slow] * (Kind.LATENCY in kinds) + [dear] * (Kind.COST in kinds)
    return said
