"""A loopback server that speaks DeepSeek's and Zhipu's chat formats to real clients.

    with VendorServer("deepseek", replies=[Reply(content='{"label": "cat"}')]) as server:
        client = OpenAI(base_url=server.base_url, api_key="sk-test")

What is said is in `formats`; how it goes over the sockets, and when, is here.
"""

import json
import selectors
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Literal, Self

from .formats import Answer, DeepSeek, Reply, Vendor, Zhipu, encode

__all__ = ["Reply", "Request", "VendorServer"]

HANG_LIMIT_S = 30.0
STOP_LIMIT_S = 2.0
VENDORS: Mapping[str, type[Vendor]] = {"deepseek": DeepSeek, "zhipu": Zhipu}


@dataclass(frozen=True)
class Request:
    """One request as it arrived.

    Attributes:
        method: "POST", "GET" and so on.
        path: The path with its query.
        headers: The headers under lower-case names.
        body: The parsed JSON object; None when there was none.
        received_at: `time.monotonic()` in seconds, when the headers had been read.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None
    received_at: float


class VendorServer:
    """A vendor on a free loopback port, for as long as the `with` block lasts.

    Chat requests that the vendor would refuse get its own error and use up no reply.

    Attributes:
        base_url: The base URL that an OpenAI client takes; known once the block was entered.
        requests: Every request received, in order.
        completed: How many replies were sent to the end; refusals don't count.
        in_flight: How many chat requests are being answered.
        max_in_flight: The highest `in_flight` seen.
    """

    base_url: str

    def __init__(
        self,
        kind: Literal["deepseek", "zhipu"],
        *,
        key: str = "sk-test",
        replies: Sequence[Reply] = (),
        respond: Callable[[Request], Reply] | None = None,
        validate: bool = True,
    ) -> None:
        """Scripts the vendor; nothing listens yet.

        Args:
            kind: The vendor.
            key: The API key that is accepted; `id.secret` for clients that sign a JWT with it.
            replies: What is queued from the start.
            respond: Makes each reply from its request, instead of the queue.
            validate: Whether requests are checked as the vendor would.
        """
        self.vendor = VENDORS[kind](key)
        self.requests: list[Request] = []
        self.completed = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self._respond = respond or self._next_reply
        self._validate = validate
        self._replies = deque(replies)
        self._last = Reply(status=500, error=self.vendor.default_error(500) | {"message": "the test queued no reply"})
        self._traffic = threading.Condition()

    def __enter__(self) -> Self:
        """Starts to listen."""
        self._http = _HttpServer(self)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}{self.vendor.roots[0]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stops to listen and hangs up on everyone, hung handlers included."""
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self.wait_idle(STOP_LIMIT_S)

    def queue(self, *replies: Reply) -> None:
        """Adds replies; they are served in order, and the last one repeats."""
        with self._traffic:
            self._replies.extend(replies)

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until no chat request is being answered; tells whether that came true in time."""
        with self._traffic:
            return self._traffic.wait_for(lambda: self.in_flight == 0, timeout_s)

    def refuse(self, request: Request) -> Reply | None:
        """Gives the vendor's refusal of a chat request, None when it takes it."""
        if not self._validate:
            return None
        refusal = self.vendor.refuse_key(request.headers.get("authorization", ""))
        return refusal or self.vendor.refuse_body(request.body or {})

    def respond(self, request: Request) -> Reply:
        """Gives the scripted reply to a chat request."""
        return self._respond(request)

    def page(self, request: Request) -> Reply:
        """Answers what is not a chat request: the list of models, 404 for all else."""
        if request.method != "GET" or not self.serves(request.path, "/models"):
            return Reply(status=404)
        refusal = self.vendor.refuse_key(request.headers.get("authorization", "")) if self._validate else None
        return refusal or Reply(raw_body=encode(self.vendor.model_list()))

    def serves(self, path: str, endpoint: str) -> bool:
        """Tells whether a path (query aside) is this endpoint of the vendor's."""
        return path.partition("?")[0] in {root + endpoint for root in self.vendor.roots}

    def receive(self, request: Request) -> None:
        """Records a request."""
        with self._traffic:
            self.requests.append(request)

    def take_off(self) -> None:
        """Counts a chat request in."""
        with self._traffic:
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def land(self, *, completed: int) -> None:
        """Counts a chat request out.

        Args:
            completed: How many replies it completed: 1 or 0.
        """
        with self._traffic:
            self.in_flight -= 1
            self.completed += completed
            self._traffic.notify_all()

    def undo_completed(self, completed: int) -> None:
        """Takes back a completed reply whose last bytes could not be sent."""
        with self._traffic:
            self.completed -= completed

    def _next_reply(self, request: Request) -> Reply:  # noqa: ARG002 -- the signature of `respond`
        with self._traffic:
            if self._replies:
                self._last = self._replies.popleft()
            return self._last


class _HttpServer(ThreadingHTTPServer):
    """The listening socket and the connections it accepted."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, front: VendorServer) -> None:
        self.front = front
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Binds without the name look-up of HTTPServer, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remembers the connection before its thread starts."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forgets the connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps silent about clients that left; a broken test script is still printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """Shuts every connection, which wakes the handlers that wait or write."""
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and sends answers piece by piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_POST(self) -> None:
        """Serves any method."""
        front, request = self.server.front, self._receive()
        front.receive(request)
        if request.method == "POST" and front.serves(request.path, "/chat/completions"):
            self._chat(front, request)
        else:
            reply = front.page(request)
            answer = front.vendor.answer({}, reply)
            self._send_head(reply, answer, framed=False)
            self.wfile.write(b"".join(answer.chunks))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815 -- http.server's names

    def log_message(self, *_: object) -> None:
        """Keeps silent."""

    def _receive(self) -> Request:
        received_at = time.monotonic()
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, self.path, headers, body if isinstance(body, dict) else None, received_at)

    def _chat(self, front: VendorServer, request: Request) -> None:
        front.take_off()
        self._landed = False
        try:
            refusal = front.refuse(request)
            reply = refusal or front.respond(request)
            self._send(reply, front.vendor.answer(request.body or {}, reply), counts=refusal is None)
        finally:
            if not self._landed:
                front.land(completed=0)

    def _send(self, reply: Reply, answer: Answer, *, counts: bool) -> None:
        framed = answer.streamed or reply.keep_alive > 0
        self._pause(reply.first_byte_delay_s)
        self._send_head(reply, answer, framed=framed)
        for _ in range(reply.keep_alive):
            self._write(b": keep-alive\n\n" if answer.streamed else b"\n", framed=framed)
            self._pause(reply.keep_alive_interval_s)
        if reply.chunk_limit is not None:
            self._break_off(reply, answer, framed=framed)
            return
        *first, last = [*((chunk,) for chunk in answer.chunks), *filter(None, [answer.tail])] or [()]
        for group in first:
            self._write(*group, framed=framed)
            self._pause(reply.chunk_delay_s)
        self._write_last(*last, framed=framed, completed=int(counts))

    def _send_head(self, reply: Reply, answer: Answer, *, framed: bool) -> None:
        length = str(sum(map(len, answer.chunks)))
        size = {"transfer-encoding": "chunked"} if framed else {"content-length": length}
        own = {"content-type": answer.content_type, "x-request-id": str(uuid.uuid4()), **size}
        self.send_response(reply.status)
        for name, value in (own | {name.lower(): value for name, value in reply.headers.items()}).items():
            self.send_header(name, value)
        self.end_headers()

    def _break_off(self, reply: Reply, answer: Answer, *, framed: bool) -> None:
        """Sends the first chunks, then closes the connection, at once or after a long silence."""
        self.close_connection = True
        for chunk in answer.chunks[: reply.chunk_limit]:
            self._write(chunk, framed=framed)
            self._pause(reply.chunk_delay_s)
        if reply.hang_after_chunks is not None:
            self._pause(HANG_LIMIT_S)

    def _write(self, *pieces: bytes, framed: bool, end: bytes = b"") -> None:
        """Sends pieces in one write, as an HTTP chunk each when framed; an empty chunk would end the body."""
        sent = (b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece for piece in pieces if piece)
        self.wfile.write(b"".join(sent) + end)

    def _write_last(self, *pieces: bytes, framed: bool, completed: int) -> None:
        """Sends the end of the body, counted before: a client may send its next request as soon as it has seen it."""
        self._landed = True
        self.server.front.land(completed=completed)
        try:
            self._write(*pieces, framed=framed, end=b"0\r\n\r\n" if framed else b"")
        except OSError:
            self.server.front.undo_completed(completed)
            raise

    def _pause(self, seconds: float) -> None:
        """Waits, unless the client leaves or the server stops.

        Raises:
            ConnectionAbortedError: When either happened. Real clients send nothing while they wait for an answer, so
                that a readable connection means that it has ended.
        """
        if seconds <= 0:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            if selector.select(seconds):
                raise ConnectionAbortedError
