"""A real PostgreSQL server of the tests' own: on a socket in a folder of its own, gone when they are."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

REQUIRED = "LLMTASK_TEST_POSTGRES"
"""Set to 1, a machine without PostgreSQL fails the tests in place of skipping them."""

_ACCOUNTS = ("postgres", "nobody")  # whose it is where the tests run as root, whom it refuses


def programs() -> Path | None:
    """Where initdb and postgres are; None where there is no server."""
    for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), *_on_path()):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _on_path() -> list[Path]:
    found = shutil.which("initdb")
    return [Path(found).resolve().parent] if found else []


class Server:
    """A server; its databases belong to the user `team`, whom it asks for no password on its socket."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self._account = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="llmtask-pg-", dir="/tmp"))  # short: a socket's path has 107 bytes
        self.folder.chmod(0o755)
        if self._account:
            shutil.chown(self.folder, self._account)
        self._data = self.folder / "data"
        self._do("initdb", "-D", str(self._data), "-U", "team", "-A", "trust", "-N", "-E", "UTF8", "--no-locale")
        hba = self._data / "pg_hba.conf"
        hba.write_text("local all team trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 trust\n")
        self.start()

    def start(self, *, fsync: bool = False) -> None:
        """Start it, and wait until it takes connections; commits wait for the disk where they are told to."""
        disk = "on" if fsync else "off"
        options = f"-k {self.folder} -c listen_addresses= -c fsync={disk} -c max_connections=100"
        log = str(self.folder / "log")
        self._do("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it as a crash would, or in another of pg_ctl's ways."""
        self._do("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """Let it hang: it accepts connections, and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"log_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}", "template1")
        return self.url(name)

    def url(self, name: str, user: str = "team", password: str = "") -> str:
        account = f"{user}:{quote(password, safe='')}" if password else user
        return f"postgresql://{account}@/{name}?host={quote(str(self.folder), safe='')}"

    def sql(self, statement: str, database: str) -> str:
        """What psql says to a statement."""
        argv = ["psql", "-h", str(self.folder), "-U", "team", "-XAtq", "-c", statement, database]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        with suppress(subprocess.CalledProcessError):
            self.thaw()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        main = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(main, number)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=False
        )
        for child in children.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def _do(self, program: str, *arguments: str) -> None:
        user = ["runuser", "-u", self._account, "--"] if self._account else []
        argv = [*user, str(self.programs / program), *arguments]
        # Output to nowhere: the server would keep a pipe open as long as it lives.
        subprocess.run(argv, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _account() -> str:
    """The account that the server runs under; empty for one's own."""
    if os.geteuid() != 0:
        return ""
    import pwd

    known = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in _ACCOUNTS if name in known)
