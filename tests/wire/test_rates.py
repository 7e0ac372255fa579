"""rates: fetched over real HTTP, in the bank's documented formats, and from servers that serve something else."""

import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmtask.errors import DownloadError, NoRateError, UntrustedError, UsageError
from llmtask.main import app
from llmtask.money import Cost
from llmtask.project import Project, load_project
from llmtask.rates import Rates, RatesStaleWarning, fetch_rates, load_rates
from tests.conftest import MakeProject
from tests.wire.files import FileServer, Play

TODAY = date(2026, 11, 25)  # a Wednesday
FRIDAY, SUNDAY = date(2026, 11, 20), date(2026, 11, 22)
HISTORY = b"""\
Date,USD,JPY,BGN,CYP,CZK,CNY,ZAR,
2026-11-24,1.1498,179.24,N/A,N/A,24.264,8.1423,19.9,
2026-11-23,1.15,179.1,N/A,N/A,24.26,8.15,19.9,
2026-11-20,1.16,179.0,1.9558,N/A,24.25,8.2,19.8,
1999-01-04,1.1789,133.73,N/A,0.58231,35.107,N/A,N/A,
"""
DAILY = b"""\
Date, USD, JPY, BGN, CZK, CNY, ZAR,\x20
24 November 2026, 1.1498, 179.24, 1.9558, 24.264, 8.1423, 19.9,\x20
"""
XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
\t<gesmes:subject>Reference rates</gesmes:subject>
\t<Cube>
\t\t<Cube time='2026-11-24'>
\t\t\t<Cube currency='USD' rate='1.1498'/>
\t\t\t<Cube currency='JPY' rate='179.24'/>
\t\t\t<Cube currency='CNY' rate='8.1423'/>
\t\t</Cube>
\t\t<Cube time="2026-11-20"><Cube currency="USD" rate="1.16"/><Cube currency="CNY" rate="8.2"/></Cube>
\t</Cube>
</gesmes:Envelope>"""
ONE_DOLLAR = Cost(1_000_000_000, "USD")


def zipped(content: bytes, name: str = "eurofxref-hist.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def bank() -> Iterator[FileServer]:
    with FileServer({"/rates": zipped(HISTORY)}) as server:
        yield server


@pytest.fixture
def own(project: MakeProject, bank: FileServer) -> Project:
    """A project that fetches from the loopback bank, by command alone."""
    return project(f"rates: {{url: '{bank.url}/rates'}}")


def serve(bank: FileServer, content: bytes | Play) -> None:
    bank.files["/rates"] = content


@pytest.mark.parametrize("content", [zipped(HISTORY), HISTORY, b"\xef\xbb\xbf" + HISTORY, XML, zipped(XML, "hist.xml")])
def test_the_banks_formats_say_the_same(own: Project, bank: FileServer, content: bytes) -> None:
    serve(bank, content)
    rates = fetch_rates(own, today=TODAY)
    found = rates.convert(ONE_DOLLAR, "CNY", SUNDAY)
    assert (found.rate_date, found.is_pinned) == (FRIDAY, False)  # the weekend has no rate of its own
    assert abs(found.amount * Decimal("1.16") - Decimal("8.2")) < Decimal("1e-50")
    assert rates.newest == date(2026, 11, 24)
    assert rates.convert(ONE_DOLLAR, "EUR", TODAY).rate_date == date(2026, 11, 24)


@pytest.mark.parametrize("content", [DAILY, zipped(DAILY, "eurofxref.csv")])
def test_a_single_day_is_added_to_those_at_hand(own: Project, bank: FileServer, content: bytes) -> None:
    serve(bank, zipped(HISTORY.replace(b"2026-11-24,1.1498", b"2026-11-24,9")))
    fetch_rates(own, today=TODAY)
    serve(bank, content)
    rates = fetch_rates(own, today=TODAY)
    assert rates.convert(Cost(10**9, "EUR"), "USD", TODAY).amount == Decimal("1.1498")  # the newer file corrects
    assert rates.convert(Cost(10**9, "EUR"), "USD", FRIDAY).amount == Decimal("1.16")


def test_what_was_fetched_is_used_without_a_network(own: Project, bank: FileServer) -> None:
    fetch_rates(own, today=TODAY)
    bank.files.clear()
    long_after = date(2027, 6, 1)
    rates = load_rates(own, today=long_after)
    assert rates.convert(ONE_DOLLAR, "CNY", long_after).rate_date == date(2026, 11, 24)
    assert rates.is_stale
    assert bank.paths == ["/rates"]


def test_nothing_is_fetched_unless_somebody_asks(own: Project, bank: FileServer) -> None:
    with pytest.raises(
        NoRateError, match=r"no exchange rates of CNY and USD at hand; `llmtask prices rates --fetch`.*"
    ):
        load_rates(own, today=TODAY).convert(ONE_DOLLAR, "CNY", TODAY)
    assert bank.paths == []


@pytest.fixture
def eager(project: MakeProject, bank: FileServer) -> Project:
    """A project that may fetch by itself."""
    return project(f"rates: {{url: '{bank.url}/rates', fetch: when_stale}}", folder="eager")


def test_config_may_allow_the_network_once_rates_are_stale(eager: Project, bank: FileServer) -> None:
    rates = load_rates(eager, today=TODAY)
    assert rates.convert(Cost(1, "CNY"), "CNY", TODAY).rate_date is None  # no rate is needed: nothing is fetched
    assert bank.paths == []
    assert rates.convert(ONE_DOLLAR, "CNY", TODAY).rate_date == date(2026, 11, 24)
    assert load_rates(eager, today=date(2026, 11, 28)).convert(ONE_DOLLAR, "CNY", TODAY).rate_date
    assert bank.paths == ["/rates"]


def forget_the_last_try(tmp_path: Path) -> None:
    for mark in (tmp_path / "cache").rglob("*.asked"):
        os.utime(mark, (time.time() - 7 * 3600,) * 2)


def test_stale_rates_go_on_where_the_bank_cannot_be_reached(eager: Project, bank: FileServer, tmp_path: Path) -> None:
    fetch_rates(eager, today=TODAY)
    bank.files.clear()
    later = date(2026, 12, 24)
    assert load_rates(eager, today=later).convert(ONE_DOLLAR, "CNY", later).rate_date  # asked a moment ago: not again
    forget_the_last_try(tmp_path)
    rates = load_rates(eager, today=later)
    with pytest.warns(RatesStaleWarning, match="HTTP 404 Not Found; the rates of 2026-11-24 go on"):
        assert rates.convert(ONE_DOLLAR, "CNY", later).rate_date == date(2026, 11, 24)
    assert rates.convert(ONE_DOLLAR, "EUR", later).rate_date == date(2026, 11, 24)  # and is not warned of twice
    assert bank.paths == ["/rates"] * 2


def test_a_day_that_the_cache_knows_needs_no_network(eager: Project, bank: FileServer, tmp_path: Path) -> None:
    fetch_rates(eager, today=TODAY)
    forget_the_last_try(tmp_path)
    assert load_rates(eager, today=date(2027, 1, 1)).convert(ONE_DOLLAR, "CNY", FRIDAY).rate_date == FRIDAY
    assert bank.paths == ["/rates"]


def test_without_rates_the_reason_is_named(eager: Project, bank: FileServer) -> None:
    bank.files.clear()
    with pytest.raises(NoRateError, match=r"HTTP 404 Not Found; `llmtask prices rates --fetch`.*pinned_per_eur"):
        load_rates(eager, today=TODAY).convert(ONE_DOLLAR, "CNY", TODAY)


def test_a_strangers_source_needs_trust(own: Project, bank: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTASK_TRUST")
    with pytest.raises(
        UntrustedError, match=r"exchange rates are fetched from http://127.*look at it, then `llmtask tru"
    ):
        fetch_rates(own, today=TODAY)
    assert bank.paths == []


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"2026-11-24,1.1,1,1\n" * 50_000)
    except OSError:
        return


def cut(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.write(HISTORY)


def in_circles(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/rates")
    request.end_headers()


def elsewhere(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "file:///etc/passwd")
    request.end_headers()


BOMB = zipped(b"0" * (40 * 2**20))
HOSTILE: dict[str, tuple[bytes | Play, str]] = {
    "a web page": (b"<!DOCTYPE html><html><body>Just a moment...</body></html>", "it is a web page"),
    "nothing": (b"", "its first line does not begin with Date"),
    "a truncated zip": (zipped(HISTORY)[:-30], "the archive cannot be read"),
    "a damaged zip": (zipped(HISTORY)[:60] + b"!!!!" + zipped(HISTORY)[64:], "the archive cannot be read"),
    "an empty zip": (b"PK\x05\x06" + b"\x00" * 18, "the archive cannot be read"),
    "a zip bomb": (BOMB, "it unpacks to more than 32 MiB"),
    "a body without end": (endless, "it is larger than 32 MiB"),
    "a cut body": (cut, "cannot be fetched"),
    "a redirect in circles": (in_circles, "cannot be fetched"),
    "a redirect to a file": (elsewhere, "cannot be fetched"),
    "no text": (b"\x89PNG\r\n\x1a\n\xff\xfe", "it is not UTF-8 text"),
    "JSON": (b'{"rates": {"USD": 1.1}}', "its first line does not begin with Date"),
    "a day to come": (HISTORY.replace(b"2026-11-24", b"2026-11-27"), "a rate of 2026-11-27, which is still to come"),
    "no day": (HISTORY.replace(b"2026-11-24", b"2026-02-30"), "'2026-02-30' is no day"),
    "currencies of others": (b"Date,JPY,GBP,\n2026-11-24,179,0.87,\n", "it has no rates of CNY or USD"),
    "no rates": (b"Date,USD,CNY\n", "it has no rates of CNY or USD"),
    "a cut line": (HISTORY[: HISTORY.index(b"1.16")], "has 2 cells, the first line 9"),
    "cut XML": (XML[:-60], "its end is missing"),
    "XML in the wrong order": (
        b"<a><Cube currency='USD' rate='1'/></Cube></gesmes:Envelope>",
        "a rate stands before the first day",
    ),
    **{
        f"a rate of {rate}": (HISTORY.replace(b"1.1498", rate.encode()), f"its rate of USD on 2026-11-24 is '{rate}")
        for rate in ("0", "0.000", "-1", "1e9", "NaN", "Infinity", "1,1"[:1] + "x", "99999999999", "１.1")
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_the_banks_file_changes_nothing(own: Project, bank: FileServer, name: str) -> None:
    fetch_rates(own, today=TODAY)
    content, why = HOSTILE[name]
    serve(bank, content)
    with pytest.raises(DownloadError) as caught:
        fetch_rates(own, today=TODAY)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    rates = load_rates(own, today=TODAY)
    assert rates.convert(Cost(10**9, "EUR"), "USD", TODAY).amount == Decimal("1.1498")


def test_a_server_that_is_not_there_is_named_without_its_password(project: MakeProject) -> None:
    own = project("rates: {url: 'http://me:secret@127.0.0.1:9/rates'}")
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/rates cannot be fetched: .*refused") as caught:
        fetch_rates(own, today=TODAY)
    assert "secret" not in str(caught.value)


def test_a_source_of_its_own_never_changes_the_rates_of_another(own: Project, starter: Project) -> None:
    fetch_rates(own, today=TODAY)
    assert load_rates(own).newest
    assert load_rates(starter).newest is None


@pytest.mark.parametrize(
    "text", ["", "x\ny\ndate,CNY,USD\n", "x\n# fetched now\ndate,CNY,USD\n2026-11-24,8,1\n", "\xff"]
)
def test_a_damaged_cache_says_so_and_is_written_anew(own: Project, tmp_path: Path, text: str) -> None:
    fetch_rates(own, today=TODAY)
    [path] = (tmp_path / "cache").rglob("*.csv")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(NoRateError, match="is damaged; `llmtask prices rates --fetch` writes it anew"):
        load_rates(own).convert(ONE_DOLLAR, "CNY", TODAY)
    assert fetch_rates(own, today=TODAY).convert(ONE_DOLLAR, "CNY", TODAY)


@pytest.mark.parametrize("cell", ["", "NaN", "1e5", "8,1.1"])
def test_a_damaged_line_is_never_a_rate(own: Project, tmp_path: Path, cell: str) -> None:
    fetch_rates(own, today=TODAY)
    [path] = (tmp_path / "cache").rglob("*.csv")
    path.write_text(path.read_text("utf-8").replace("2026-11-24,8.1423", f"2026-11-24,{cell}"), encoding="utf-8")
    rates = Rates(own, TODAY)
    if cell == "":
        assert rates.convert(ONE_DOLLAR, "CNY", TODAY).amount > 5
    else:
        with pytest.raises(NoRateError, match="is damaged"):
            rates.convert(ONE_DOLLAR, "CNY", TODAY)


def test_the_command_fetches_and_says_of_which_day_the_rates_are(own: Project, bank: FileServer) -> None:
    argv = ["prices", "rates", "--project", str(own.root), "--on", "2026-11-22"]
    fetched = CliRunner().invoke(app, [*argv, "--fetch"])
    assert fetched.exit_code == 0, fetched.stderr
    assert ["EUR", "8.2", "CNY", "2026-11-20"] in [line.split() for line in fetched.stdout.splitlines()]
    assert "of the ECB, up to 2026-11-24, fetched " in fetched.stderr
    assert bank.url in fetched.stderr
    told = json.loads(CliRunner().invoke(app, [*argv, "--json"]).stdout)
    assert (told["newest"], told["rates"][1]["rate"]) == ("2026-11-24", "1.16")
    assert bank.paths == ["/rates"]


def test_a_price_map_is_fetched_from_the_url_that_is_given(project: MakeProject, bank: FileServer) -> None:
    own = project(
        "providers: {openai: {base_url: 'https://api.openai.example/v1', currency: USD}}\n"
        "models: {gpt: {provider: openai, name: gpt-5, context: 1000}}"
    )
    rows = {"gpt-5": {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}}
    bank.files["/map.json"] = json.dumps(rows).encode()
    argv = ["prices", "import", "--yes", "--project", str(own.root)]
    assert CliRunner().invoke(app, [*argv, f"{bank.url}/map.json"]).exit_code == 0
    assert "openai/gpt-5" in load_project(own.root).config.prices
    missing = CliRunner().invoke(app, [*argv, f"{bank.url}/nope.json"])
    assert (missing.exit_code, missing.stderr.count("\n")) == (5, 1)
    assert "HTTP 404 Not Found" in missing.stderr


def test_a_cache_folder_that_cannot_be_is_named_with_a_way_out(own: Project, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be written \(.*\); pin rates with"):
        fetch_rates(own, today=TODAY)
    with pytest.raises(NoRateError, match=r"cannot be read \(Not a directory\); pin rates with"):
        load_rates(own, today=TODAY).convert(ONE_DOLLAR, "CNY", TODAY)
