"""A real Redis server of the tests' own: on a free port of loopback, its data in a folder, gone when they are."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

REQUIRED = "LLMTASK_TEST_REDIS"
"""Set to 1, a machine without Redis fails the tests in place of skipping them."""

_STARTS_S = 20.0
_KEPT = ("--appendonly", "yes", "--appendfsync", "everysec")


def program() -> str | None:
    """The server: Redis, or Valkey, which speaks as it does; None where there is none."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """A server that keeps what it is told across kills."""

    scheme, query = "redis", ""

    def __init__(self, program: str, folder: Path, password: str = "", said: Sequence[str] = _KEPT) -> None:
        self.program, self._folder, self._password, self._said = program, folder, password, said
        folder.mkdir(parents=True, exist_ok=True)
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        account = f":{self._password}@" if self._password else ""
        return f"{self.scheme}://{account}127.0.0.1:{self._port}/0{self.query}"

    def start(self) -> None:
        """Start it, with what it knew before, and wait until it answers."""
        said = [*self._listening(), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", "", *self._said]
        if self._password and "--requirepass" not in said:
            said += ["--requirepass", self._password]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self.program, *said], stdout=log, stderr=log)
        until = time.monotonic() + _STARTS_S
        while not self._answers():
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """Lose what it knew, while it is down."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def freeze(self) -> None:
        """Let it hang: it accepts connections, and says nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def _listening(self) -> Sequence[str]:
        return "--port", str(self._port)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as line:
                line.sendall(b"PING\r\n")
                said = line.recv(64)
        except OSError:
            return False
        return said.startswith((b"+PONG", b"-NOAUTH"))  # and not -LOADING


class SecretServer(Server):
    """A server that speaks TLS alone, with a certificate of its own."""

    scheme = "rediss"

    def __init__(self, program: str, folder: Path) -> None:
        self._certificate, self._key = folder / "certificate.pem", folder / "key.pem"
        self.query = f"?ssl_ca_certs={self._certificate}"
        folder.mkdir(parents=True, exist_ok=True)
        argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "rsa:2048", "-subj", "/CN=127.0.0.1"]
        argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run(argv, check=True, capture_output=True)
        super().__init__(program, folder, "letmein")

    def _listening(self) -> Sequence[str]:
        files = ["--tls-cert-file", str(self._certificate), "--tls-key-file", str(self._key)]
        return "--port", "0", "--tls-port", str(self._port), "--tls-auth-clients", "no", *files

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=self._certificate)
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), timeout=1) as line,
                context.wrap_socket(line, server_hostname="127.0.0.1"),
            ):
                return True
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
