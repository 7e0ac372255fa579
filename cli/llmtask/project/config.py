"""The shape of `config.yaml`: providers, models, queues, routes, tasks, prices, defaults."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from llmtask.errors import Failure
from llmtask.money import Currency

Driver = Literal["openai", "langchain", "offline"]
Structured = Literal["tool", "tool_auto", "json_schema", "json_object", "prompt"]
Tier = Literal["paid", "free"]
Worker = Literal["structured", "stream"]

Name = Annotated[str, Field(min_length=1)]
TextKey = Annotated[str, BeforeValidator(str)]  # YAML reads an unquoted 1113 as a number


class Strict(BaseModel):
    """A mapping in a file that people write: an unknown key is an error."""

    # Field docstrings become descriptions in `schema --file` only: reading them costs each command 50 ms.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class FailureMap(Strict):
    """Which failure class a vendor's sign stands for. The first match wins: code, message, finish, http."""

    code: dict[TextKey, Failure] = {}
    """The vendor's own error code, such as "1113"."""
    message: dict[str, Failure] = {}
    """A piece of the error's message, compared without regard to case."""
    finish: dict[str, Failure] = {}
    """The finish reason of an answer, such as "length"."""
    http: dict[TextKey, Failure] = {}
    """The HTTP status."""


class FailureRule(Strict):
    """What follows a failed call of one class. A class without a rule stops the run."""

    retry: int = Field(default=0, ge=0, le=10)
    """How often a model is asked again after it."""
    how: Literal["same", "reask", "more_room"] = "same"
    """What is asked again: the same; the same with the bad answer and what is wrong with it; or, where the model
    thought, the same with twice the `max_tokens`, or without thinking where that is the most."""
    wait_s: float = Field(default=0, ge=0)
    """Seconds before the first retry; doubled for each further one, less a random part of up to half. Where the
    vendor's `Retry-After` asks for more, that is waited."""
    then: Literal["stop", "fall_back"] = "stop"
    """When the retries are used up: stop, or go on with the next of the model's `fallbacks`."""


class UnlistedModel(Strict):
    """What to assume of a provider's models that `models` does not list (`--model provider/name`)."""

    structured: Structured = "prompt"
    """How the model is held to the schema."""
    context: int = Field(default=32_768, gt=0)
    """Context window in tokens."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Most tokens of an answer; null leaves it to the server."""
    temperature: float | None = None
    """Sampling temperature; null leaves it to the server."""


class Provider(Strict):
    """Somebody who serves models, and how to reach them."""

    driver: Driver = "openai"
    """openai: any OpenAI-compatible server. langchain: any LangChain chat model. offline: embedded, no network."""
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    """Where the API lives; `/chat/completions` is appended by the driver."""
    api_key_env: tuple[Name, ...] = ()
    """The environment variables that may hold the key, first found wins; empty for a server without keys."""
    key_url: str | None = None
    """Where a key can be had; shown when it is missing."""
    currency: Currency | None = None
    """The currency the account is billed in; chooses among a price's lists."""
    headers: dict[str, str] = {}
    """Further HTTP headers of each request."""
    temperature_range: tuple[float, float] | None = None
    """Lowest and highest temperature that the API takes; others are moved to the nearer bound."""
    greedy: dict[str, Any] = {}
    """Sent along when a temperature below the range is asked for, such as {do_sample: false}."""
    forced_tools: Literal["always", "without_thinking", "never"] = "always"
    """When the API lets a call force a tool; else the model is free to call it (`structured: tool`)."""
    image_form: Literal["data_url", "base64"] = "data_url"
    """How an image is put into a message: as a `data:` URL or as bare base64."""
    class_: str | None = Field(default=None, alias="class")
    """driver langchain: the dotted name of the chat model class."""
    kwargs: dict[str, Any] = {}
    """driver langchain: its keyword arguments. {name}, {api_key}, {base_url}, {temperature} and {max_tokens} in the
    values are filled in; an argument whose value is empty is left out."""
    unlisted: UnlistedModel | None = None
    """Allows `--model provider/name` for models that are not listed, and says what to assume of them."""
    failures: FailureMap = FailureMap()
    """This vendor's own signs; added to the general ones."""


class Pace(Strict):
    """How fast the calls of a batch may go."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    """Most calls that a batch begins in any minute; null sets no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Most tokens, in and out, that a batch uses in any minute; null sets no limit."""


class Model(Pace):
    """A model under this product's own stable id."""

    provider: Name
    """A key of `providers`."""
    name: Name
    """What the vendor calls the model today."""
    description: str = ""
    """For people."""
    structured: Structured = "prompt"
    """How the model is held to a schema: tool (forced call), tool_auto, json_schema, json_object, or prompt only."""
    thinking: Literal["enabled", "disabled"] | None = None
    """Sent as `thinking: {type: ...}`; null sends nothing."""
    reasoning_effort: str | None = None
    """Sent as it is; null sends nothing."""
    temperature: float | None = None
    """Sampling temperature; null leaves it to the vendor."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Most tokens of an answer, thinking included; null leaves it to the vendor."""
    most_tokens: int | None = Field(default=None, gt=0)
    """The largest `max_tokens` that the vendor takes; null means that ours is never raised."""
    context: int = Field(gt=0)
    """Context window in tokens, answer included."""
    vision: bool = False
    """Whether it takes images."""
    queue: str | None = None
    """The queue for runs that name this model with `--model`; a key of `queues`."""
    price: str | None = None
    """A key of `prices`; null takes the price named `provider/name`; without one it is unpriced, never 0."""
    fallbacks: tuple[Name, ...] = ()
    """Models that take over, in this order, after a failure whose rule says `then: fall_back`; keys of `models`."""
    extra_body: dict[str, Any] = {}
    """Further fields of the request body."""
    concurrency: int | None = Field(default=None, ge=1)
    """Most calls of a batch in flight at once, whatever the queue; null leaves it to the queue."""


class Queue(Pace):
    """A named queue: what the calls of a batch share."""

    concurrency: int = Field(default=1, ge=1)
    """Most calls in flight at once."""


class Target(Strict):
    """A model and the queue its calls wait in."""

    model: Name
    """A key of `models`."""
    queue: str | None = None
    """A key of `queues`."""


class RouteVariant(Strict):
    """A route for a special kind of input."""

    worker: Worker | None = None
    """structured or stream."""
    paid: Target | None = None
    """Where it goes with quota."""
    free: Target | None = None
    """Where it goes without."""


class RouteRule(RouteVariant):
    """Where the tasks that match a pattern go. What a rule leaves out, a less specific one supplies."""

    reasoning: Target | None = None
    """Where a paid run goes that asks for reasoning."""
    vision: RouteVariant | None = None
    """Where a run with an image goes."""


class Task(Strict):
    """A task template: its prompts are `prompts/<locale>/<task>.yaml`."""

    schema_: str = Field(alias="schema", pattern=r"^[A-Za-z_]\w*:[A-Za-z_]\w*$")
    """The schema of its answer: `file:Class`, a class in schemas/file.py."""
    aliases: tuple[str, ...] = ()
    """Other names that are accepted for it."""


PerMillion = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Fee = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class PriceList(Strict):
    """Prices for 1,000,000 tokens, and fees for one of what is billed by the piece, in one currency."""

    cache_hit: PerMillion
    """Input tokens that the vendor's prompt cache held."""
    cache_miss: PerMillion
    """Input tokens that it did not hold."""
    output: PerMillion
    """Output tokens, reasoning included."""
    image: Fee | None = None
    """For one image of a request, beside its tokens; null where images are billed as tokens alone."""
    search: Fee | None = None
    """For one call of the vendor's own search; null where there is none."""


class Price(Strict):
    """The price of a model from a day on."""

    effective_from: date = Field(ge=date(1970, 1, 1), le=date(2199, 12, 31))
    """The first day it holds, in the schedule's time zone (UTC without a schedule)."""
    source: str = ""
    """Where it was read."""
    lists: dict[Currency, PriceList]
    """One list per currency. They are separate lists of the vendor's, never converted into each other."""
    peak: str | None = None
    """A key of `schedules`: the hours in which `peak_lists` holds."""
    peak_lists: dict[Currency, PriceList] = {}
    """The lists for peak hours."""


def _zone(name: str) -> str:
    """The name, where the time zone is known."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        message = "no such time zone; give an IANA name such as Asia/Shanghai"
        raise ValueError(message) from error
    return name


def _span(span: str) -> str:
    """The span, where it begins before it ends."""
    begin, _, end = span.partition("-")
    if begin >= end:
        message = "a span ends later on the same day; give two spans for one over midnight"
        raise ValueError(message)
    return span


TimeZone = Annotated[str, AfterValidator(_zone)]
Span = Annotated[
    str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$"), AfterValidator(_span)
]


class Schedule(Strict):
    """Recurring hours, such as a vendor's peak hours."""

    timezone: TimeZone
    """IANA name, such as Asia/Shanghai."""
    weekdays: tuple[Annotated[int, Field(ge=1, le=7)], ...]
    """ISO weekdays, Monday is 1."""
    hours: tuple[Span, ...]
    """Spans of local time, begin included, end not, such as 09:00-12:00; 24:00 is the end of the day."""
    except_holidays: Literal["CN"] | None = None
    """Public holidays on which the schedule does not hold."""


class Timeouts(Strict):
    """How long to wait, in seconds."""

    connect_s: float = Field(default=10, gt=0)
    """To reach the server."""
    first_byte_s: float = Field(default=300, gt=0)
    """From the request to the first of the answer, all of it where it is not streamed; keep-alive comments are none."""
    idle_s: float = Field(default=120, gt=0)
    """Between two signs of life after that; a keep-alive comment is one."""
    total_s: float = Field(default=900, gt=0)
    """For a whole run, with its retries, waits and fallbacks."""


class TokenEstimate(Strict):
    """Tokens per character, for what is shown before a call and for servers that report none."""

    cjk: float = Field(default=0.6, gt=0)
    """Per Chinese, Japanese or Korean character."""
    other: float = Field(default=0.3, gt=0)
    """Per other character."""


class Defaults(Strict):
    """What holds where nothing else is said."""

    locale: Name = "zh"
    """The locale of a run without `--locale`."""
    tier: Tier = "paid"
    """The tier of a run without `--free` or `--paid`."""
    calls: int = Field(default=4, ge=1, le=20)
    """Most calls of one run to one model, whatever the rules add up to."""
    longest_wait_s: float = Field(default=30, ge=0)
    """Longest wait before a retry; who asks for more with `Retry-After` is not asked again."""
    timeouts: Timeouts = Timeouts()
    token_estimate: TokenEstimate = TokenEstimate()


class PriceFile(Strict):
    """A whole prices.yaml: what `llmtask prices import` wrote, beneath config.yaml."""

    prices: dict[str, tuple[Price, ...]] = {}
    """The prices by name, each with its dated lists."""


PerEuro = Annotated[Decimal, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


class RateSource(Strict):
    """Where exchange rates come from. Nothing is fetched unasked, unless `fetch` says so."""

    fetch: Literal["never", "when_stale"] = "never"
    """never: only by `llmtask prices rates --fetch`. when_stale: also where a rate is needed and those at hand are
    older than `stale_after_days`."""
    url: str = Field(
        default="https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip", pattern=r"^https?://[^\s/]"
    )
    """A file of the European Central Bank's reference rates: zip, CSV or XML, of all days or of the last."""
    stale_after_days: int = Field(default=4, ge=1)
    """How old the last day may be; the bank publishes none on weekends and on its holidays."""
    pinned_per_eur: dict[Literal["CNY", "USD"], PerEuro] = {}
    """Rates of your own, in units for 1 EUR, such as {CNY: 7.80, USD: 1.10}; they hold on every day, not the bank's."""


class Tracing(Strict):
    """Spans for OpenTelemetry: of each run and each of its calls, never with any content."""

    enabled: bool | None = None
    """true: the command line sends them where OTEL_EXPORTER_OTLP_ENDPOINT says. false: there are none. null: a program
    that uses llmtask as a library and has set OpenTelemetry up gets them; the command line sends none."""


CapAmount = Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=9, allow_inf_nan=False)]


class Budget(Strict):
    """A cap on what is spent. A call that could pass it is not made.

    Before each call, what the usage log holds for the span, what calls in flight can cost and what this one can cost
    are added up. Of task, provider, model, user and service, those that are named must fit; `"*"` holds for each value
    on its own.
    """

    amount: CapAmount
    """The most that may be spent, in units of the currency."""
    currency: Currency
    """What it is in; calls that are billed in another currency are converted by the day's rate."""
    per: Literal["run", "day", "week", "month", "ever"]
    """What it is for: one run, or all that is spent in a day, week or month of local time, or ever."""
    task: str | None = None
    """A key of `tasks`, or "*"."""
    provider: str | None = None
    """A key of `providers`, or "*"."""
    model: str | None = None
    """A key of `models`, or `provider/name`, or "*"."""
    user: str | None = None
    """What `--user` says, or "*"."""
    service: str | None = None
    """What `--service` says, or "*"."""
    then: Literal["stop", "free"] = "stop"
    """What follows where it has no room for a call: the run stops, or goes on with the model of the free tier."""
    unpriced: Literal["refuse", "allow"] = "refuse"
    """What to do with calls of a model without a price, which no amount can hold."""
    unreachable: Literal["refuse", "allow"] = "refuse"
    """What to do with calls where the usage log cannot be read or written, or is left out."""
    timezone: TimeZone | None = None
    """Whose days, weeks and months they are; null is the local time zone of the machine."""


class QuotaRules(Strict):
    """Whether users' quotas decide the tier of a run. The quotas themselves are in the usage log (`llmtask quota`)."""

    unknown: Literal["free", "paid", "refuse"] | None = None
    """Where the runs of a user go who has no quota; null is `defaults.tier`."""
    unreachable: Literal["refuse", "allow"] = "refuse"
    """What to do where the usage log cannot be read or written: refuse the run, or let it go to `defaults.tier`."""
    timezone: TimeZone | None = None
    """Whose days and months free runs are counted in; null is the local time zone of the machine."""


class UsageSettings(Strict):
    """The usage log of the project's runs."""

    database: Name | None = None
    """Where it is: `postgresql://user@host/database`, or a file below the project. `${NAME}` stands for an environment
    variable, such as a password; LLMTASK_DB and `--db` go before it. null is the user's own log."""


class Config(Strict):
    """A whole config.yaml, merged with the starter's."""

    providers: dict[str, Provider]
    models: dict[str, Model]
    queues: dict[str, Queue] = {}
    tasks: dict[str, Task]
    routes: dict[str, RouteRule]
    prices: dict[str, tuple[Price, ...]] = {}
    schedules: dict[str, Schedule] = {}
    rates: RateSource = RateSource()
    failures: FailureMap = FailureMap()
    rules: dict[Failure, FailureRule] = {}
    defaults: Defaults = Defaults()
    tracing: Tracing = Tracing()
    budgets: tuple[Budget, ...] = ()
    """Caps on what is spent; none where it is left out."""
    quota: QuotaRules | None = None
    """Whether quotas decide the tier of runs that name a user and no tier. null: only of `llmtask run --user`, and only
    where the user has one."""
    usage: UsageSettings = UsageSettings()
