"""Facts that the input doesn't have are told; what it has in other words is not."""

from pathlib import Path

import pytest

from llmtask.testing.text.facts import Fact, invented
from llmtask.testing.text.kinds import FactKind

ROOT = Path(__file__).parents[3]
INPUTS = {
    locale: [(ROOT / f"examples/{name}.{locale}.md").read_text(encoding="utf-8") for name in ("resume", "job")]
    for locale in ("zh", "en")
}
LABELLED = [  # (locale of the input, a plausible string over it, the facts in it that are invented)
    ("zh", "主导订单库分库分表，双写迁移 460,000,000 条历史订单，历时五个月", []),
    ("zh", "主导订单库分库分表，双写迁移 6.4 亿条历史订单", ["6.4 亿"]),
    ("zh", "峰值下单 12,000 笔/秒，未发生资损", []),
    ("zh", "峰值下单 2.1 万笔/秒", ["2.1 万"]),
    ("zh", "8年Java后端经验，近三年负责订单系统", []),
    ("zh", "十三年 Java 后端经验", ["十三"]),
    ("zh", "2023年7月至今任职于浙江禾穗云商科技有限公司", []),
    ("zh", "2022年7月加入浙江禾穗云商科技有限公司", ["2022年7月"]),
    ("zh", "曾就职于杭州蓝鲸数据科技有限公司", ["杭州蓝鲸数据科技有限公司"]),
    ("zh", "毕业于云江理工大学软件工程专业", []),
    ("zh", "毕业于浙江大学软件工程专业", ["浙江大学"]),
    ("zh", "熟练使用 Spring Cloud、RocketMQ 与 redis", []),
    ("zh", "熟练使用 Spring Cloud、RocketMQ 与 ClickHouse", ["ClickHouse"]),
    ("zh", "有 Kubernetes 与 Flink 生产经验", []),
    ("zh", "有 TiDB 运维经验", ["TiDB"]),
    ("zh", "数据库读流量下降约百分之六十，不一致率由万分之三降至百万分之五", []),
    ("zh", "数据库读流量下降约 65%", ["65%"]),
    ("zh", "P99 由 820ms 降至 190ms，指导两名初级工程师", []),
    ("zh", "P99 由 820ms 降至 90ms", ["90ms"]),
    ("zh", "带领 25 人的团队完成改造", ["25"]),
    ("zh", "1. 补充清结算经验\n2. 准备三个例子，说明第二段经历\n3. 附上链接", []),
    ("zh", "建议从以下 4 个方面准备，每点一句话", []),
    ("zh", "投递到 hr@example.cn，主页 https://github.com/example-chenyuan", []),
    ("zh", "邮箱：chen.yu@example.cn", ["chen.yu@example.cn"]),
    ("zh", "电话 13800000000", []),
    ("zh", "电话 139-1234-5678", ["139-1234-5678"]),
    ("zh", "著有《分布式账务实战》一书", ["分布式账务实战"]),
    ("zh", "贵公司是一家科技公司，与银行侧协作，统一了口径，十分重视一致性", []),
    ("zh", "禾穗云商的订单域保障负责人，2025 年双 11 大促", []),
    ("zh", "通过 CET-6，开源项目 delay-lite 获得 320 Star", []),
    ("zh", "开源项目获得 3200 Star", ["3200"]),
    ("zh", "薪资 35K–50K，15 薪", []),
    ("zh", "用 kafka 与 pulsar 解耦", ["pulsar"]),
    ("en", "Product analyst with nine years in analytics, strongest in SQL", []),
    ("en", "Product analyst with thirteen years in analytics", ["thirteen"]),
    ("en", "Ran 46 A/B tests worth $3,100,000 a year", []),
    ("en", "Ran 64 A/B tests worth $3.1M a year", ["64"]),
    ("en", "At Harborlight Commerce since April 2022", []),
    ("en", "At Harborlight Commerce since March 2021", ["March 2021"]),
    ("en", "Spent two years at Acme Robotics before that", ["Acme"]),
    ("en", "Cut 90-day churn from 14.2 % to 11.9 % with scikit-learn", []),
    ("en", "Cut churn by 37%", ["37%"]),
    ("en", "Your dashboards in Tableau fit; Looker is named in the posting.", []),
    ("en", "You have used Snowflake and Databricks for years.", ["Databricks"]),
    ("en", "Senior Product Analyst, Member Growth", []),
    ("en", "Kubernetes", ["Kubernetes"]),
    ("en", "Communication", []),
    ("en", "Three things to prepare: one of them is dbt. I'd add a line with who, how long, and to what end.", []),
    ("en", "1. Lead with the checkout tests.\n2) Name 3 examples; the 2nd job shows BigQuery's use.", []),
    ("en", "Reach me at elena.marsh@example.com or +1 555 0100", []),
    ("en", "Reach me at elena@example.com", ["elena@example.com"]),
    ("en", "See www.linkedin.com/in/example-elena-marsh/", []),
    ("en", "Holds a degree from Stanford University (2017)", ["Stanford"]),
    ("en", "B.S. in Statistics, Northmoor State University, 2013-2017", []),
    ("en", "Trained thirty-five dispatchers across 14 depots", []),
    ("en", "Led a team of 15 engineers in Seattle", ["15", "Seattle"]),
    ("en", "Experience with PyTorch and AWS would help", ["PyTorch", "AWS"]),
    ("en", "Dear Larkfield team, Thank you for reading. Best regards, Elena Marsh", []),
    ("en", "Available 24/7; certified in 2023 by Larch Hill Institute", []),
    ("en", "## Work Experience\n\n**Product Analyst** | Apr 2022 – present", []),
]


@pytest.mark.parametrize(("locale", "text", "facts"), LABELLED)
def test_the_invented_facts_of_a_string_are_told(locale: str, text: str, facts: list[str]) -> None:
    assert [fact.text for fact in invented(text, INPUTS[locale])] == facts


@pytest.mark.parametrize("locale", ["zh", "en"])
def test_no_line_of_an_input_is_invented(locale: str) -> None:
    lines = [line for text in INPUTS[locale] for line in text.splitlines()]
    assert [fact for line in lines for fact in invented(line, INPUTS[locale])] == []


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("2023.07", "since July 2023"),
        ("2023-07", "2023年7月"),
        ("Jul 5, 2023", "2023/7/5"),
        ("07/2023", "2023 年 7 月 5 日"),
        ("2023", "in 2023.07"),
        ("4.6亿", "460,000,000"),
        ("1.2w", "12,000"),
        ("三百二十人", "320 people"),
        ("30 %", "百分之三十"),
        ("8", "8+ years"),
        ("3 companies", "three companies"),
        ("1.5 million", "150万"),
    ],
)
def test_numbers_and_dates_are_compared_by_value(text: str, source: str) -> None:
    assert invented(text, [source]) == []


@pytest.mark.parametrize(
    ("text", "source"), [("2023.08", "July 2023"), ("5 July 2023", "July 2023"), ("2024", "July 2023")]
)
def test_a_date_is_grounded_only_with_all_its_parts(text: str, source: str) -> None:
    assert invented(text, [source]) == [Fact(FactKind.DATES, text)]


def test_only_the_kinds_asked_for_are_told() -> None:
    text = "Ask bo@example.org at Initech about 77 tests in 2031"
    assert {fact.kind for fact in invented(text, [""])} == set(FactKind)
    assert invented(text, [""], kinds={FactKind.NUMBERS}) == [Fact(FactKind.NUMBERS, "77")]


def test_what_is_allowed_is_not_told() -> None:
    assert invented("Ask Initech about 77 tests", [""], allow=["Initech", "77"]) == []


def test_a_fact_is_told_once() -> None:
    assert invented("77 and 77", [""]) == [Fact(FactKind.NUMBERS, "77")]


def test_a_full_width_comma_hides_no_date_behind_it() -> None:
    assert invented("2023.05", ["青禾酒店，2023.05 – 至今"], list(FactKind), []) == []
