"""Chromium without a window, asked and told over a pipe: https://chromedevtools.github.io/devtools-protocol/."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # for root, as in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--window-size=1400,1000",
)
_PATIENCE_S = 60
_HIGH = 20  # a descriptor above those that Chromium expects the pipe at: 3 and 4


class Tab:
    """A tab that opens a page, and tells what became of it."""

    def __init__(self, folder: Path) -> None:
        """Start the browser with a profile of its own in the folder."""
        self._folder = folder
        self.requests: list[str] = []
        """The addresses that the page asked for, its own among them."""
        self.complaints: list[str] = []
        """What the console, or an exception that nobody caught, said."""
        self._last = 0
        self._rest = b""
        self._session: dict[str, str] = {}
        theirs, self._write = self._pipe()
        self._read, theirs_too = self._pipe()

        def at_3_and_4() -> None:
            os.dup2(theirs, 3)
            os.dup2(theirs_too, 4)

        self._process = subprocess.Popen(
            [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=at_3_and_4,
            close_fds=False,  # Python's own are closed by exec; 3 and 4 are not
        )
        os.close(theirs)
        os.close(theirs_too)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._session = {}
        self.call("Browser.close")
        self._process.wait(_PATIENCE_S)
        os.close(self._read)
        os.close(self._write)

    def open(self, page: str, fragment: str = "") -> None:
        """Show a page, once its script has run."""
        path = self._folder / "page.html"
        path.write_text(page, encoding="utf-8")
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()
        self.call("Page.navigate", url=f"{path.as_uri()}#{fragment}")
        self.until("document.readyState === 'complete' && 'ready' in document.documentElement.dataset")

    def size(self, width: int, height: int = 1000) -> None:
        """Make the window so large."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def emulate(self, media: str = "", **features: str) -> None:
        """Have a medium, such as print, and preferences, such as prefers_color_scheme='dark'."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=told)

    def ask(self, script: str) -> Any:
        """What an expression of JavaScript is, as JSON has it."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + _PATIENCE_S
        while not self.ask(f"!!({script})"):
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def each(self, selector: str, what: str) -> list[Any]:
        """What an expression about `one` is, of each element that there is."""
        return list(self.ask(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => {what})"))

    def texts(self, selector: str) -> list[str]:
        """The text of each element that there is."""
        return self.each(selector, "one.textContent")

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """A point of an element, in the window that it is brought into: shares of its width and height."""
        box = self.ask(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); "
            "one.scrollIntoView({block: 'center', behavior: 'instant'}); const box = one.getBoundingClientRect(); "
            "return [box.left, box.top, box.width, box.height]; })()"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point and let it go at another."""
        button = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=begin[0], y=begin[1])
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=begin[0], y=begin[1], **button)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], **button)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **button)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click on an element."""
        point = self.place(selector, x, y)
        self.drag(point, point)

    def key(self, name: str, *, shift: bool = False) -> None:
        """Press a key."""
        text = {"Enter": "\r", " ": " "}.get(name, "")
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9}
        code = {"windowsVirtualKeyCode": codes[name], "modifiers": 8 if shift else 0, "key": name, "code": name}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def call(self, method: str, **parameters: Any) -> Any:
        """Carry a command of the protocol out."""
        self._last += 1
        told = {"id": self._last, "method": method, "params": parameters} | self._session
        os.write(self._write, json.dumps(told).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._last:
                assert "error" not in said, (method, said)
                return said["result"]
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        method, parameters = said.get("method"), said.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 16)
            assert more, "Chromium has gone"
            self._rest += more
        whole, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(whole)
        return found

    @staticmethod
    def _pipe() -> tuple[int, int]:
        """The ends of a pipe, above the descriptors that are given away."""
        low = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _HIGH) for end in low]
        for end in low:
            os.close(end)
        return ends[0], ends[1]
