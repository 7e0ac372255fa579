"""Facts that an answer names and the input doesn't: numbers, dates, addresses, names.

What counts as a fact is read strictly from the answer and liberally from the sources: a false alarm costs more than a
miss.
"""

import functools
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from llmtask.testing.text.grounding import fold
from llmtask.testing.text.kinds import FactKind

ALL = frozenset(FactKind)


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as the answer words it."""

    kind: FactKind
    text: str


def _words(text: str) -> list[str]:
    return text.split()


_ADDRESS = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}|(?:https?://|www\.)[^\s<>\"'，。；、）)\]}“”]+"
    r"|(?<![\w.-])[a-z\d-]{1,63}(?:\.[a-z\d-]{1,63}){0,4}\.(?:com|cn|org|net|io|dev)\b(?:/[\w./?=&#~%-]*)?",
    re.ASCII | re.IGNORECASE,
)
_MONTHS = {
    name: at for at, name in enumerate(_words("jan feb mar apr may jun jul aug sep oct nov dec"), 1)
}  # fmt: skip
_MONTH = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_YEAR = r"(?P<year>(?:19|20)\d{2})"
_DATES = tuple(
    re.compile(rf"(?<![\d.])(?<!\d,){pattern}(?![\d,]*\d)", re.IGNORECASE)
    for pattern in (
        rf"{_YEAR}\s?[-./年]\s?(?P<month>1[0-2]|0?[1-9])(?:\s?[-./月]\s?(?P<day>3[01]|[12]\d|0?[1-9])日?|\s?月)?",
        rf"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\s{_MONTH},?\s+{_YEAR}",
        rf"{_MONTH}\s+(?:(?P<day>[0-3]?\d)(?:st|nd|rd|th)?,?\s+)?{_YEAR}",
        rf"(?P<month>1[0-2]|0?[1-9])/{_YEAR}",
        _YEAR,
    )
)
_PHONE = re.compile(
    r"\+\d[\d ()-]{7,}\d|"
    r"(?<![\w.])(?:\+\d{1,3}[\s-]?)?(?:\(\d+\)\s?)?\d{3,4}[\s-]\d{3,4}(?:[\s-]\d{3,4})?(?![\w.%])|(?<!\w)1\d{10}(?!\d)"
)

_SCALES = {
    "万": 4, "亿": 8, "千": 3, "百万": 6, "千万": 7, "百": 2, "十": 1, "万亿": 12,
    "k": 3, "w": 4, "m": 6, "mn": 6, "b": 9, "bn": 9, "thousand": 3, "million": 6, "billion": 9,
}  # fmt: skip  # powers of ten
_UNITS = "ms|s|h|min|kb|mb|gb|tb|x|yrs?|years?|qps|tps|d|kg|km|hours?|days?|weeks?|months?"
_DIGITS = re.compile(
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<range>\s?-\s?\d[\d.]*)?"
    r"(?:\s?(?P<scale>万亿|千万|百万|[万亿千]|(?:thousand|million|billion|mn|bn|[kmbw])(?![a-z])))?"
    rf"(?P<unit>\s?%|\s?(?:{_UNITS})(?![a-z]))?",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(
    r"^[ \t]*[-*]?[ \t]*(?:\d{1,2}[.)、](?!\d)|\(\d{1,2}\))|[\u2460-\u2473]|(?<![\w.])\d\)", re.MULTILINE
)
_ORDINAL = re.compile(
    r"\b\d+(?:st|nd|rd|th)\b|第\s?[\d一二三四五六七八九十百]+|(?<!\d)(?:24/7|1:1|50/50|1-on-1)(?!\d)", re.IGNORECASE
)
_STRUCTURE = re.compile(  # the answer's own count of its points
    r"\s?(?:个(?!月|人|小时)|点|步|方面|大(?!型)|条建议|句|段|轮|分钟(?:的|内)?自我|"
    r"(?:more |key |main |short |concrete |specific )?(?:reasons?|points?|areas?|steps?|questions?|examples?|ways?"
    r"|things?|bullets?|"
    r"sentences?|paragraphs?|lines?|strengths?|weakness|gaps?|topics?|sections?|pages?)\b)",
    re.IGNORECASE,
)
_CHINESE_DIGITS = {sign: at for at, sign in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_CHINESE = "[零〇一二两三四五六七八九十百千万亿]"
_FRACTION = re.compile(rf"({_CHINESE}{{1,20}})分之({_CHINESE}{{1,20}}|\d+(?:\.\d+)?)")
_CHINESE_COUNT = re.compile(
    rf"(?<![第数几{_CHINESE[1:-1]}])({_CHINESE}{{1,20}})(?=\s?(?:年|个月|个人|小时|天|周|人|名|位|家|倍|成|亿|元|台|笔|张))"
)
_CHINESE_ANY = re.compile(f"{_CHINESE}{{1,20}}")
_ENGLISH = {
    word: value
    for value, word in enumerate(
        _words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
    )
} | {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12}
_WORD_NUMBER = rf"\b({'|'.join(_ENGLISH)})\b"
_ENGLISH_ANY = re.compile(_WORD_NUMBER, re.IGNORECASE)
_ENGLISH_COUNT = re.compile(
    _WORD_NUMBER
    + r"(?=[ -](?:years?|months?|weeks?|days?|hours?|people|engineers|analysts|developers|members|employees|teams|"
    r"companies|countries|customers|clients|projects|services)\b)",
    re.IGNORECASE,
)
_SMALL = 2  # "one of", 两个, "2 of them": too common in ordinary words to be facts

_HAN = "\u3400-\u9fff"
_WORD = re.compile(r"(?<!\w)[A-Za-zÀ-ɏ][\wÀ-ɏ]*(?:[+#]+(?!\w)|(?:[-.&'’](?=[\wÀ-ɏ])[\wÀ-ɏ]+)*)", re.ASCII)
_INITIAL = re.compile(r"(?:^|[.!?:;。！？：；\n\"“‘「(（|>*#•]|[-–—]\s)[\s\"“'*#(-]*$")
_ORDINARY_END = re.compile(
    r"(?:tion|sion|ing|ment|ship|ness|ity|ive|ed|ly|ist|ics|ance|ence|able|ible|ous|ful|less|ian|ers?|ors?|al|ism"
    r"|ures?|ills|ess)$"
)
_ORDINARY = frozenset(
    _words(
        "i i'm i've i'd i'll ok cv pdf url faq it hr ai api apis qa id ui ux pm am us usa uk eu ceo cto vp phd bsc msc "
        "ba ma mba gpa "
        "star todo na n/a kpi kpis okr okrs roi sla b2b b2c a/b ab ci cd ci/cd p0 p1 rd r&d am pm bi ml nlp llm etl "
        "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august "
        "september "
        "october november december jan feb mar apr jun jul aug sep sept oct nov dec english chinese mandarin "
        "senior junior lead staff principal head chief team project product data software backend frontend full stack "
        "web mobile "
        "engineer analyst summary profile experience work education skill skills contact objective language languages "
        "tool tools "
        "the a an and or of to in on at for with from by as your you my our their his her its this that these those "
        "dear hello hi "
        "sir madam best regards sincerely bachelor master doctor degree science sciences arts computer statistics "
        "mathematics "
        "key core strong new first last high low good open source present remote volunteer certificate other about "
        "what why how "
        "thank thanks see reach section name email phone time part resume letter cover match score role job level "
        "overall yes no not if when where"
    )
)
_CODE = re.compile(r"`[^`\n]*`|\{[^{}\n]*\}|\bSELECT\b[^。；;\n]*")
_CONNECTIVES = frozenset(_words("a an and at de for in of on or the to"))
_COMMON = frozenset(  # small Latin words that Chinese office talk uses as its own
    _words(
        "offer demo bug case owner leader app web online offline email mail code review debug feature roadmap team "
        "title base "
        "and the for with ms qps tps star readme git commit issue push pull merge mock ppt pdf word excel json html "
        "http https sql "
        "null true false kpi okr job plus pro max top level mentor buffer ddl deadline feedback follow sync check list "
        "todo tips"
    )
)
_TITLE = re.compile(r"《([^《》\n]{2,40})》")
_COMPANY = re.compile(
    rf"[{_HAN}A-Za-z()（）]{{2,24}}?(?:有限公司|公司|集团|大学|学院|银行|医院|研究院|事务所)(?![{_HAN}]*(?:经验|背景|学历|系统|渠道))"
)
_BEFORE_NAME = re.compile(
    r".*(?:任职|毕业|就读|就职|加入|[在于从为是和与及由到对的了给向把被曾于去入或你您我他她读该])(?=.{3,})"
)
_NO_STEM = re.compile(
    r".*(?:家|该|贵|本|我|小|大|中|上市|互联网|科技|创业|外包|母|子|分|目标|技术|软件|支付|金融|商业|投资|中央|合作|国有|股份制|"
    r"重点|知名|双一流|这所|所|个|各|多|前|某|原|同|新|老|外资|民营|初创|头部|等|名|业|电商|综合|普通)$"
)
_FORM = re.compile(r"(?:股份)?有限公司|公司|集团|大学|学院|银行|医院|研究院|事务所")


def invented(
    text: str, sources: Sequence[str], kinds: Collection[FactKind] = ALL, allow: Collection[str] = ()
) -> list[Fact]:
    """The facts of a text that no source has, each once, by kind and then in the text's order.

    Facts that follow from a source by arithmetic, such as a sum or the years between two dates, are told as invented.

    Args:
        text: One string of an answer.
        sources: The inputs.
        kinds: The kinds to look for.
        allow: Words, numbers and names that may be added, such as the vendor's own name.
    """
    known = _known((*sources, *allow))
    plain, found = _plain(text), []
    rest, addresses = _taken(plain, (_ADDRESS,))
    found += [Fact(FactKind.EMAILS, one[0].rstrip(".,;")) for one in addresses if _address(one[0]) not in known.folded]
    undated, dates = _taken(rest, _DATES)
    found += [Fact(FactKind.DATES, one[0].strip()) for one in dates if not known.has_date(_date(one))]
    found += [Fact(FactKind.NUMBERS, shown) for shown, value in _stated(undated) if value not in known.numbers]
    found += [Fact(FactKind.NAMES, name) for name in _names(_CODE.sub(" ", rest)) if not known.has_name(name)]
    found += [Fact(FactKind.NAMES, name) for name in _chinese_names(plain) if not known.has_chinese_name(name)]
    return list(dict.fromkeys(fact for fact in found if fact.kind in kinds))


@dataclass(frozen=True, slots=True)
class _Known:
    """What the sources hold."""

    folded: str
    squeezed: str
    """Letters and digits alone, for "scikit learn" and "Scikit-Learn"."""
    words: frozenset[str]
    numbers: frozenset[Decimal | str]
    """Values, and telephone numbers as their last seven digits."""
    dates: frozenset[tuple[int, int, int]]
    """Year, month and day; 0 where it is not given."""

    def has_date(self, date: tuple[int, int, int]) -> bool:
        """Whether the parts that are given occur together; a year alone may be a plain number, too."""
        if any(all(part in (0, other) for part, other in zip(date, one, strict=True)) for one in self.dates):
            return True
        return not any(date[1:]) and Decimal(date[0]) in self.numbers

    def has_name(self, name: str) -> bool:
        bare = _squeezed(re.sub("['’]s$", "", name))
        forms = {bare, bare.removesuffix("s")}
        return not forms.isdisjoint(self.words) or (len(bare) >= 4 and any(form in self.squeezed for form in forms))

    def has_chinese_name(self, name: str) -> bool:
        stem = _FORM.sub("", name)
        return _squeezed(name) in self.squeezed or (len(stem) >= 3 and _squeezed(stem) in self.squeezed)


@functools.lru_cache(maxsize=16)
def _known(sources: tuple[str, ...]) -> _Known:
    plain = "\n".join(_plain(source) for source in sources)
    folded = fold(plain, casefold=True)
    rest, dates = _taken(_ADDRESS.sub(" ", plain), _DATES)
    return _Known(
        folded=folded,
        squeezed=_squeezed(plain),
        words=frozenset(
            _squeezed(part) for word in _WORD.findall(plain) for part in (word, *re.split(r"[-.&'’/]", word))
        ),
        numbers=frozenset(_mentioned(rest)) | {Decimal(year) for year in re.findall(r"\d{4}", plain)},
        dates=frozenset(map(_date, dates)),
    )


def _plain(text: str) -> str:
    """NFKC, one kind of dash, no emphasis; line breaks stay, list numbers in circles go."""
    text = re.sub(r"[\u2460-\u2473]|\*\*", " ", text)
    return re.sub("[‐‑‒–—―−~〜～]", "-", unicodedata.normalize("NFKC", text))


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _address(text: str) -> str:
    bare = re.sub(r"^(?:https?://)?(?:www\.)?", "", text.rstrip(".,;/"), flags=re.IGNORECASE)
    return fold(bare, casefold=True)


def _taken(text: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, list[re.Match[str]]]:
    """The text with blanks over what the patterns find, one after the other, and what they find."""
    taken: list[re.Match[str]] = []
    for pattern in patterns:
        taken += pattern.finditer(text)
        text = pattern.sub(lambda found: " " * len(found[0]), text)
    return text, sorted(taken, key=lambda found: found.start())


def _date(found: re.Match[str]) -> tuple[int, int, int]:
    parts = found.groupdict()
    month = _MONTHS[parts["name"].lower()] if parts.get("name") else int(parts.get("month") or 0)
    return int(parts["year"]), month, int(parts.get("day") or 0)


def _stated(text: str) -> Iterator[tuple[str, Decimal | str]]:
    """The numbers that an answer states as facts: as worded, and by value."""
    text = _ENUMERATION.sub(lambda found: " " * len(found[0]), text)
    text, _ = _taken(text, (_ORDINAL,))
    text, phones = _taken(text, (_PHONE,))
    yield from ((one[0].strip(), _phone(one[0])) for one in phones)
    text, fractions = _taken(text, (_FRACTION,))
    yield from ((one[0], _fraction(one)) for one in fractions)
    for found in _DIGITS.finditer(text):
        if _is_stated(found):
            yield _worded(found), _value(found)
    for pattern in (_CHINESE_COUNT, _ENGLISH_COUNT):
        for found in pattern.finditer(text):
            value = _word_value(found[1])
            if value > _SMALL:
                yield found[1], value


def _is_stated(found: re.Match[str]) -> bool:
    """Whether digits are a number of their own: not part of a word (`P99`, `3D`), small or a count of points."""
    before = found.string[max(0, found.start() - 2) : found.start()]
    after = found.string[found.end() : found.end() + 40]
    if re.search(r"[A-Za-z_.\d]$|[A-Za-z]-$", before) or re.match(r"[A-Za-z_]|-[A-Za-z]{1,2}\b", after):
        return False
    value = _value(found)
    if found["scale"] or found["unit"]:
        return True
    return value > _SMALL and not (value <= 10 and _STRUCTURE.match(after))


def _worded(found: re.Match[str]) -> str:
    return found[0].strip() if not found["range"] else found["digits"] + (found["scale"] or "")


def _mentioned(text: str) -> Iterator[Decimal | str]:
    """Every number that a source can be said to hold."""
    yield from (_phone(found[0]) for found in _PHONE.finditer(text))
    yield from (_fraction(found) for found in _FRACTION.finditer(text))
    for found in _DIGITS.finditer(text):
        yield from _values(found)
    yield from (_word_value(found[0]) for found in _CHINESE_ANY.finditer(text))
    yield from (_word_value(found[0]) for found in _ENGLISH_ANY.finditer(text))


def _values(found: re.Match[str]) -> Iterator[Decimal]:
    """The value, the bare digits, and both ends of a range: `35-50K` is 35, 50, 35000 and 50000."""
    ends = [found["digits"], *re.findall(r"\d+(?:\.\d+)?", found["range"] or "")]
    for end in ends:
        bare = Decimal(end.replace(",", ""))
        yield from (bare, bare.scaleb(_scale(found)))


def _value(found: re.Match[str]) -> Decimal:
    return Decimal(found["digits"].replace(",", "")).scaleb(_scale(found))


def _scale(found: re.Match[str]) -> int:
    return _SCALES[found["scale"].lower()] if found["scale"] else 0


def _phone(text: str) -> str:
    return re.sub(r"\D", "", text)[-7:]


def _fraction(found: re.Match[str]) -> Decimal:
    """In percent: 百分之三十 is 30, as `30%` is."""
    over = _word_value(found[2]) if found[2][0] not in "0123456789" else Decimal(found[2])
    return over * 100 / max(_word_value(found[1]), Decimal(1))


def _word_value(word: str) -> Decimal:
    """The value of a numeral in words: `three`, 三百二十, 二〇二三."""
    if word.lower() in _ENGLISH:
        return Decimal(_ENGLISH[word.lower()])
    if all(sign in _CHINESE_DIGITS for sign in word):
        return Decimal("".join(str(_CHINESE_DIGITS[sign]) for sign in word))
    total = section = digit = 0
    for sign in word:
        if sign in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS[sign]
        elif sign in "万亿":
            total, section, digit = (total + section + digit or 1) * 10 ** _SCALES[sign], 0, 0
        else:
            section, digit = section + (digit or 1) * 10 ** _SCALES[sign], 0
    return Decimal(total + section + digit)


def _names(text: str) -> Iterator[str]:
    """The Latin words that are names: by capitals inside, digits, or a capital where a sentence would have none."""
    small = {word.lower() for word in _WORD.findall(text) if word.islower()}
    for line in text.splitlines():
        chinese = bool(re.search(f"[{_HAN}]", line))
        title = not chinese and _is_title(line)
        for found in _WORD.finditer(line):
            initial = not title and not chinese and _is_initial(line, found.start())
            if _is_name(found[0], small, chinese=chinese, initial=initial):
                yield found[0]


def _is_initial(line: str, at: int) -> bool:
    before = line[max(0, at - 12) : at]  # a whole line for each of its words would be quadratic
    return bool(_INITIAL.search(before if at <= 12 else f"x{before}"))


def _is_title(line: str) -> bool:
    """Whether capitals mean nothing to tell a sentence's beginning by: `Acme Robotics`, `Kubernetes`."""
    if "   " in line or line.rstrip().endswith("."):
        return False  # with an address blanked out it is a sentence cut short
    words = _WORD.findall(line)
    return len(words) <= 6 and all(word[0].isupper() or word in _CONNECTIVES for word in words)


def _is_name(word: str, small: Collection[str], *, chinese: bool, initial: bool) -> bool:
    lowered = re.sub("['’]s$", "", word).lower()
    if len(lowered) < 2 or lowered in _ORDINARY or lowered in _COMMON:
        return False
    if word.islower():
        return chinese and len(word) >= 4 and word.isascii()
    if re.search(r"[a-z].*[A-Z]|\d", word) or (word.isupper() and len(word) >= 3):
        return True
    parts = re.split(r"[-&.'’]", lowered)
    ordinary = lowered in small or all(part in _ORDINARY or _ORDINARY_END.search(part) for part in parts)
    return word[0].isupper() and not initial and not ordinary


def _chinese_names(text: str) -> Iterator[str]:
    yield from (found[1] for found in _TITLE.finditer(text))
    for found in _COMPANY.finditer(text):
        name = _BEFORE_NAME.sub("", found[0])
        stem = _FORM.sub("", name)
        if len(stem) >= 2 and ("有限公司" in name or not _NO_STEM.match(stem)):
            yield name
