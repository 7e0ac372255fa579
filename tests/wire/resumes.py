"""Resumes as people write them, in Chinese and in English, as many different ones as are wanted, always the same."""

import random
from collections.abc import Callable, Sequence
from typing import Any

_ZH: dict[str, Sequence[str]] = {
    "family": [
        "王",
        "李",
        "张",
        "刘",
        "陈",
        "杨",
        "赵",
        "黄",
        "周",
        "吴",
        "徐",
        "孙",
        "胡",
        "朱",
        "高",
        "林",
        "何",
        "郭",
        "马",
        "罗",
    ],
    "given": [
        "伟",
        "芳",
        "娜",
        "敏",
        "静",
        "强",
        "磊",
        "洋",
        "艳",
        "勇",
        "军",
        "杰",
        "娟",
        "涛",
        "明",
        "超",
        "秀兰",
        "子轩",
        "雨桐",
        "欣怡",
    ],
    "role": [
        "后端工程师",
        "数据分析师",
        "产品经理",
        "算法工程师",
        "前端工程师",
        "运维工程师",
        "测试工程师",
        "用户研究员",
    ],
    "city": ["北京", "上海", "深圳", "杭州", "成都", "武汉", "南京", "西安"],
    "school": ["华中科技大学", "四川大学", "浙江工业大学", "南京邮电大学", "西安电子科技大学", "中山大学"],
    "firm": ["某电商平台", "某支付公司", "某物流企业", "某在线教育公司", "某游戏工作室", "某银行科技部"],
    "skill": [
        "Go",
        "Java",
        "Python",
        "Kubernetes",
        "MySQL",
        "Redis",
        "Kafka",
        "Spark",
        "React",
        "PyTorch",
        "SQL",
        "Tableau",
    ],
    "deed": [
        "负责订单系统重构，接口 P99 由 {0} ms 降到 {1} ms",
        "搭建指标体系，覆盖 {0} 个业务看板，每周服务 {1} 名运营",
        "主导 A/B 实验 {0} 次，次日留存提升 {1}%",
        "维护 {0} 台服务器，故障恢复时间缩短到 {1} 分钟",
        "带领 {1} 人小组，{0} 天内完成迁移，零停机",
    ],
}
_EN: dict[str, Sequence[str]] = {
    "family": [
        "Smith",
        "Garcia",
        "Chen",
        "Patel",
        "Nguyen",
        "Kim",
        "Müller",
        "Rossi",
        "Silva",
        "O'Brien",
        "Novák",
        "Haddad",
    ],
    "given": ["Ana", "James", "Wei", "Priya", "Omar", "Léa", "Tom", "Sofia", "Noah", "Ingrid", "Kofi", "Mei"],
    "role": [
        "Backend engineer",
        "Data analyst",
        "Product manager",
        "ML engineer",
        "Site reliability engineer",
        "UX researcher",
    ],
    "city": ["London", "Berlin", "Toronto", "Austin", "Singapore", "Dublin"],
    "school": ["University of Leeds", "TU Delft", "University of Waterloo", "Trinity College Dublin", "NUS"],
    "firm": ["a payments company", "an online retailer", "a logistics start-up", "a hospital network", "a game studio"],
    "skill": [
        "Go",
        "Java",
        "Python",
        "Kubernetes",
        "PostgreSQL",
        "Kafka",
        "dbt",
        "Looker",
        "React",
        "PyTorch",
        "Terraform",
    ],
    "deed": [
        "Cut checkout latency from {0} ms to {1} ms at the 99th percentile",
        "Designed and read {0} A/B tests; retention rose by {1} %",
        "Replaced {0} hand-made reports with {1} dashboards",
        "Ran an on-call rotation for {0} services with {1} people",
        "Moved {0} tables to a new warehouse in {1} weeks without an outage",
    ],
}


def resume(locale: str, number: int) -> str:
    """One resume of so many; the name has its number."""
    dice = random.Random(f"{locale} {number}")  # noqa: S311  # an example, no secret
    words = {"zh": _ZH, "en": _EN}[locale]
    return (_zh if locale == "zh" else _en)(lambda part: dice.choice(words[part]), dice, number)


def _zh(pick: Callable[[str], str], dice: random.Random, number: int) -> str:
    jobs = "\n\n".join(_job(pick, dice, "### {firm} · {role}（{begin}—{end}）") for _ in range(dice.randint(1, 3)))
    skills = "、".join(dice.sample(list(_ZH["skill"]), 5))
    head = f"{pick('role')} | {pick('city')} | {dice.randint(1, 15)} 年经验"
    return (
        f"# {pick('family')}{pick('given')}（{number}）\n\n{head}\n\n"
        f"## 工作经历\n\n{jobs}\n\n## 教育\n\n{pick('school')}，本科\n\n## 技能\n\n{skills}\n"
    )


def _en(pick: Callable[[str], str], dice: random.Random, number: int) -> str:
    jobs = "\n\n".join(_job(pick, dice, "### {role}, {firm} ({begin}-{end})") for _ in range(dice.randint(1, 3)))
    skills = ", ".join(dice.sample(list(_EN["skill"]), 5))
    return (
        f"# {pick('given')} {pick('family')} ({number})\n\n{pick('role')} | {pick('city')} | "
        f"{dice.randint(1, 15)} years of experience\n\n"
        f"## Experience\n\n{jobs}\n\n## Education\n\n{pick('school')}, BSc\n\n## Skills\n\n{skills}\n"
    )


def _job(pick: Callable[[str], str], dice: random.Random, head: str) -> str:
    begin = dice.randint(2010, 2022)
    said: dict[str, Any] = {
        "firm": pick("firm"),
        "role": pick("role"),
        "begin": begin,
        "end": begin + dice.randint(1, 3),
    }
    deeds = [pick("deed").format(dice.randint(40, 900), dice.randint(2, 39)) for _ in range(dice.randint(2, 4))]
    return "\n".join([head.format(**said), "", *(f"- {deed}" for deed in deeds)])
