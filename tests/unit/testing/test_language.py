"""Strings in the wrong language are told; names, code and quotes are not taken for one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtask.errors import UsageError
from llmtask.testing.text.language import require_detector, wrong_language

ROOT = Path(__file__).parents[3]
PROSE = {"highlights", "point", "suggestion", "overall_assessment", "change_reason", "answer_guideline", "question"}

FINE = [  # (locale, string): a detector alone is wrong about many of them
    ("zh", "高级后端工程师（交易 / 支付方向）"),
    ("zh", "Spring Cloud"),
    ("zh", "Redis + Lua"),
    ("zh", "Zhejiang University"),
    ("zh", "University of Northmoor"),
    ("zh", "Bank of the West"),
    ("zh", "Institute of Electrical and Electronics Engineers"),
    ("zh", "Senior Backend Engineer"),
    ("zh", "pandas, numpy, scikit-learn, statsmodels"),
    ("zh", "large language model"),
    ("zh", "陈予安"),
    ("zh", "2023.07 – 至今"),
    ("zh", "Mar 2020 - present"),
    ("zh", "熟悉 Java、Spring Cloud、RocketMQ"),
    ("zh", "熟悉 event sourcing and CQRS"),
    ("zh", "掌握 continuous integration and continuous delivery"),
    ("zh", "规范 git commit message 的写法"),
    ("zh", "chen.yuan@example.cn"),
    ("zh", "https://github.com/example-chenyuan/a-list-of-the-things"),
    ("zh", "github.com/example-chenyuan"),
    ("zh", "SELECT * FROM t WHERE dt = '{{ ds }}'"),
    ("zh", '统一返回体为 {"status": "this is the best of all"}'),
    ("zh", "简历原文 “Led migration of 4.6M orders to the new ledger” 可以直接引用"),
    ("zh", "把 'Led the migration of the orders' 这一句放在最前"),
    ("zh", "分布式追踪（distributed tracing of all the services）"),
    ("zh", "读过《Designing Data-Intensive Applications》"),
    ("zh", "CET-6：540 分"),
    ("zh", "35–50K · 15 薪"),
    ("zh", "最喜欢の一句话"),
    ("zh", "熟悉 Δ 与 α 的含义"),
    ("zh", "熟悉資料庫設計與系統架構"),
    ("zh-CN", "主导订单库分库分表，乾隆、昇腾均可"),
    ("zh-TW", "負責訂單系統的設計與開發，熟悉資料庫"),
    ("zh-Hant", "台北"),
    ("en", "陈予安"),
    ("en", "陈予安、林知夏"),
    ("en", "浙江禾穗云商科技有限公司"),
    ("en", "Led the order team at 浙江禾穗云商科技有限公司 (2023-2025)"),
    ("en", "Senior Backend Engineer (高级后端工程师)"),
    ("en", "The resume says “负责支付回调的幂等与超时关单”, which fits."),
    ("en", "Wrote 《对账手册》, read by 4 teams"),
    ("en", "Universidad de Altamar"),
    ("en", "École des Hautes Études en Sciences Sociales"),
    ("en", "Ludwig van Beethoven"),
    ("en", "Rio de Janeiro, Brazil"),
    ("en", "Volkswagen AG und Deutsche Bahn"),
    ("en", "a de facto standard for the team"),
    ("en", "de facto standard library"),
    ("en", "Naïve Bayes, résumé parsing"),
    ("en", "Led migration of 4.6M orders"),
    ("en", "C++ (basics)"),
    ("en", "English, native"),
    ("en", "PCI-DSS;\nwritten English for design docs"),
    ("en", "Иван Петров"),
    ("en", "김민수"),
    ("en", "2015 - 2017"),
    ("en", ""),
    ("ja", "株式会社山田製作所"),
    ("ja", "東京大学工学部卒業"),
    ("ja", "Java と Spring Cloud に詳しい。"),
    ("ja", "ソフトウェアエンジニア"),
    ("de", "Entwickelte das Zahlungssystem für drei Banken"),
    ("de", "Senior Product Manager"),
    ("de", "Java, Spring Cloud, Redis"),
    ("de", "Erfahrung mit Machine Learning und Continuous Delivery"),
    ("fr", "Conception et développement du système de paiement"),
    ("fr", "Chef de projet"),
    ("es", "Responsable del diseño de la plataforma de pagos"),
    ("es", "Desarrollador de software"),
    ("pt", "Responsável pelo desenvolvimento de sistemas de pagamento"),
    ("it", "Responsabile dello sviluppo della piattaforma"),
    ("nl", "Verantwoordelijk voor de ontwikkeling van het betaalsysteem"),
    ("ko", "결제 시스템을 설계하고 개발했습니다"),
]
WRONG = [  # (locale, string, what it reads as)
    ("zh", "The candidate has strong Java experience", "en"),
    ("zh", "Led migration of 4.6M orders", "en"),
    ("zh", "experience with Java, Python, and Go", "en"),
    ("zh", "Built a churn model in Python; cut churn from 14.2% to 11.9%", "en"),
    ("zh", "你的经验与岗位高度吻合。The greatest risk is that you have no team. 建议尽快投递。", "en"),
    ("zh", "The candidate 有 strong experience in Java", "en"),
    ("zh", "负责 the design and the rollout of the new ledger for all teams", "en"),
    ("zh", "Write down who you mentored, for how long, and to what end", "en"),
    ("zh", "“The candidate has strong Java experience”", "en"),
    ("zh", "決済システムの設計と開発を担当しました", "ja"),
    ("zh", "ソフトウェアエンジニア", "ja"),
    ("zh", "결제 시스템을 설계하고 개발했습니다", "ko"),
    ("zh", "Разработал платёжную систему для трёх банков", "ru"),
    ("zh", "Erfahrung mit verteilten Systemen und Datenbanken", "de"),
    ("zh", "Conception et développement du système de paiement", "fr"),
    ("zh-CN", "負責訂單系統的設計與開發，熟悉資料庫", "zh-Hant"),
    ("zh-TW", "负责订单系统的设计与开发，熟悉数据库", "zh-Hans"),
    ("zh-Hant-HK", "负责订单系统的设计与开发，熟悉数据库", "zh-Hans"),
    ("en", "候选人具有很强的 Java 经验", "zh"),
    ("en", "高级后端工程师", "zh"),
    ("en", "5 年以上 Java 后端经验", "zh"),
    ("en", "You meet the requirements. 最大的风险是简历没有写清结算经验。Apply soon.", "zh"),
    ("en", "You meet the central requirements.\n最大的风险是：简历没有写清结算经验", "zh"),
    ("en", "This one 候选人具有很强的Java经验", "zh"),
    ("en", "決済システムの設計と開発を担当しました", "ja"),
    ("en", "결제 시스템을 설계하고 개발했습니다", "ko"),
    ("en", "Опытный разработчик платёжных систем", "ru"),
    ("en", "Erfahrung mit verteilten Systemen", "de"),
    ("en", "Entwickelte das Zahlungssystem für drei Banken", "de"),
    ("en", "Der Kandidat hat keine Erfahrung in der Leitung eines Teams", "de"),
    ("en", "Conception et développement du système de paiement", "fr"),
    ("en", "Le candidat a une forte expérience avec Java", "fr"),
    ("en", "Responsable del diseño de la plataforma de pagos", "es"),
    ("en", "El candidato tiene mucha experiencia con Java", "es"),
    ("en", "Responsável pelo desenvolvimento de sistemas de pagamento", "pt"),
    ("en", "Responsabile dello sviluppo della piattaforma di pagamento", "it"),
    ("en", "Verantwoordelijk voor de ontwikkeling van het betaalsysteem", "nl"),
    ("en", "You fit well. Die größte Schwäche ist die fehlende Erfahrung mit Kafka.", "de"),
    ("de", "The candidate has strong experience with Java", "en"),
    ("de", "Led migration of the orders to a new ledger", "en"),
    ("de", "候选人具有很强的经验", "zh"),
    ("fr", "The candidate has strong experience with Java", "en"),
    ("fr", "Responsable del diseño de la plataforma de pagos para los bancos", "es"),
    ("es", "The greatest risk is the scope of the team", "en"),
    ("es", "Le candidat a une forte expérience avec Java dans les banques", "fr"),
    ("ja", "负责订单系统的设计与开发", "zh"),
    ("ja", "The candidate has strong experience with Java", "en"),
    ("ko", "The candidate has strong experience with Java", "en"),
    ("ko", "负责订单系统的设计与开发", "zh"),
]


def strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    items = (
        value.items() if isinstance(value, dict) else [(key, one) for one in value] if isinstance(value, list) else []
    )
    for name, one in items:
        yield from strings(one, name)


def corpus(locale: str) -> list[tuple[str, str]]:
    """The strings of the corpus' answers, each with its key, and the lines of the examples."""
    answers = yaml.safe_load((ROOT / f"tests/corpus/objects.{locale}.yaml").read_text(encoding="utf-8"))
    lines = [
        line.strip("-# *")
        for name in ("job", "resume")
        for line in (ROOT / f"examples/{name}.{locale}.md").read_text(encoding="utf-8").splitlines()
    ]
    return [*strings(answers), *(("line", line) for line in lines if line)]


@pytest.mark.parametrize(("locale", "string"), FINE)
def test_what_is_in_the_locale_or_no_language_passes(locale: str, string: str) -> None:
    assert wrong_language(string, locale) is None


@pytest.mark.parametrize(("locale", "string", "language"), WRONG)
def test_what_is_in_another_language_is_told(locale: str, string: str, language: str) -> None:
    reason = wrong_language(string, locale)
    assert reason is not None
    assert reason.startswith(f"reads as {language}, not {locale}: ")


@pytest.mark.parametrize("locale", ["zh", "en"])
def test_no_string_of_the_corpus_is_a_false_alarm(locale: str) -> None:
    assert [reason for _, string in corpus(locale) if (reason := wrong_language(string, locale))] == []


@pytest.mark.parametrize(("locale", "other"), [("zh", "en"), ("en", "zh")])
def test_prose_of_the_corpus_in_the_other_locale_is_told(locale: str, other: str) -> None:
    prose = [string for key, string in corpus(other) if key in PROSE]
    missed = [string for string in prose if not wrong_language(string, locale)]
    assert len(missed) <= 0.1 * len(prose), missed


def test_the_reason_quotes_the_sentence_that_is_wrong() -> None:
    reason = wrong_language("经验吻合。The greatest risk is “范围” of the team. 尽快投递。", "zh")
    assert reason == "reads as en, not zh: 'The greatest risk is “范围” of the team.'"


def test_words_can_be_ignored() -> None:
    assert wrong_language("run the thing of all", "zh") is not None
    assert wrong_language("run the thing of all", "zh", ignore=["Run the Thing of All"]) is None


def test_an_unknown_locale_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'tlh'; known: af, ar"):
        require_detector("tlh")


def test_a_locale_with_rules_needs_no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    for locale in ("zh", "zh-CN", "en_US", "ja", "de", "ko-KR", "el"):
        require_detector(locale)


def test_a_locale_without_rules_needs_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtask.testing.text import language

    monkeypatch.setitem(sys.modules, "lingua", None)
    language._detector.cache_clear()
    with pytest.raises(UsageError, match=r"pip install lingua-language-detector"):
        require_detector("pl-PL")


def test_with_lingua_a_locale_without_rules_is_judged() -> None:
    pytest.importorskip("lingua")
    require_detector("pl")
    assert wrong_language("Kandydat ma duże doświadczenie w pracy z systemami płatności", "pl") is None
    assert wrong_language("Kandidát má velké zkušenosti s vývojem platebních systémů v bance", "pl") is not None
    assert wrong_language("The candidate has much experience with payment systems in banks", "pl") is not None
    assert wrong_language("最大的风险是简历没有写清结算经验", "pl") is not None
    assert wrong_language("Spring Cloud", "pl") is None


def test_importing_the_checks_imports_no_detector() -> None:
    heavy = "{'lingua', 'rapidfuzz', 'numpy'}"
    code = f"import sys, json, llmtask.testing.text.language; print(json.dumps([*{heavy} & {{*sys.modules}}]))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "cli")
    assert json.loads(made.stdout) == []


@pytest.mark.parametrize(
    "text",
    [
        "### Embedded Engineer, 微澜智能科技（苏州）有限公司",
        "Results come first, duties follow.",
        "Experiment methods come first;",
    ],
)
def test_what_suites_of_ours_came_across_is_english(text: str) -> None:
    assert wrong_language(text, "en") is None
