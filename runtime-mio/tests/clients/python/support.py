"""Starts the real binary and talks to it with `websockets`, http.client and raw sockets."""

import http.client
import json
import os
import pathlib
import queue
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as websockets_connect

TOKEN = "token-of-the-client-tests"
WAIT = 10  # seconds until a test fails instead of hanging
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Server:
    """A running `moorline`; leaving the context kills it."""

    started = 0

    def __init__(self, *args):
        Server.started += 1
        self.log = pathlib.Path(os.environ["CLIENTS_LOGS"], f"python-{Server.started}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [os.environ["CLIENTS_BINARY"], *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self.lines = []
        self._arriving = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._arriving.put(line.decode().rstrip("\n"))
        self._arriving.put(None)

    def line(self, prefix):
        """The first line on stdout that starts with `prefix`."""
        while True:
            for line in self.lines:
                if line.startswith(prefix):
                    return line
            line = self._arriving.get(timeout=WAIT)
            if line is None:
                raise AssertionError(f"ended before it printed {prefix!r}: {self.stderr}")
            self.lines.append(line)

    def ready(self, announcement, last=None):
        """Reads the address from the line that announces it, then waits for the last line of the start."""
        try:
            self.url = self.line(announcement).removeprefix(announcement).strip()
            self.port = int(re.search(r":(\d+)/", self.url)[1])
            self.line(last or announcement)
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def stderr(self):
        return self.log.read_text()

    def exit_code(self):
        return self.process.wait(timeout=WAIT)

    def stop(self, signal):
        self.process.send_signal(signal)
        return self.exit_code()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()


def echo(*extra):
    return Server("echo", "--listen", "127.0.0.1:0", *extra).ready("moorline echo listening on ")


def serve(state, *extra, listen="127.0.0.1:0", token=TOKEN):
    """The arguments of a gateway; `token=None` leaves the token to the gateway."""
    given = [] if token is None else ["--token", token]
    return ["serve", "--listen", listen, "--state-dir", str(state), *given, *extra]


@contextmanager
def gateway(*extra, state=None, **options):
    with tempfile.TemporaryDirectory(prefix="moorline-clients-") as folder:
        with Server(*serve(state or folder, *extra, **options)) as server:
            yield server.ready("moorline gateway listening on ", "try: ")


def connect(url, **options):
    """A `websockets` connection, to use in a `with`."""
    return websockets_connect(url, proxy=None, max_size=None, open_timeout=WAIT, close_timeout=WAIT, **options)


def ending(ws):
    """Reads on until the server closes: its code and reason."""
    try:
        while True:
            ws.recv(timeout=WAIT)
    except ConnectionClosed as end:
        return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


class Client:
    """A gateway client: requests, their answers, and the events in between."""

    def __init__(self, ws):
        self.ws = ws
        self.frames = []

    def until(self, matches, start=0):
        """The first frame, from index `start` on, that matches."""
        for frame in self.frames[start:]:
            if matches(frame):
                return frame
        while True:
            frame = json.loads(self.ws.recv(timeout=WAIT))
            self.frames.append(frame)
            if matches(frame):
                return frame

    def answer(self, raw):
        """Sends text or bytes as they are and gives the next `res` frame."""
        start = len(self.frames)
        self.ws.send(raw)
        return self.until(lambda frame: frame["type"] == "res", start)

    def request(self, method, **params):
        request = f"r{len(self.frames)}"
        self.ws.send(json.dumps({"type": "req", "id": request, "method": method, "params": params}))
        return self.until(lambda frame: frame["type"] == "res" and frame["id"] == request)

    def call(self, method, **params):
        """The payload of a request that succeeds."""
        answer = self.request(method, **params)
        assert answer["ok"], f"{method}: {answer}"
        return answer["payload"]

    def refused(self, method, **params):
        """The error of a request that is refused."""
        answer = self.request(method, **params)
        assert not answer["ok"], f"{method}: {answer}"
        return answer["error"]

    def say(self, message, **params):
        return self.call("chat.send", agentId="echo", message=message, **params)

    def run_events(self, kind):
        agent = [frame["payload"] for frame in self.frames if frame.get("event") == "agent"]
        return [event for event in agent if event["type"] == kind]

    def run_event(self, kind):
        """Waits for a run event."""
        return self.until(lambda frame: frame.get("event") == "agent" and frame["payload"]["type"] == kind)["payload"]


@contextmanager
def login(server, user="ana", token=TOKEN, **options):
    """A client that is logged in; `hello` is the payload of the answer."""
    with connect(server.url, **options) as ws:
        client = Client(ws)
        client.hello = client.call("connect", user_id=user, **({} if token is None else {"token": token}))
        yield client


def request(server, method="GET", path="/", headers=(), **options):
    """One request with http.client: the response with its body read as text. Headers may repeat."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True, **options)
        for name, value in dict(headers).items() if isinstance(headers, dict) else headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        response.text = "" if response.status == 101 else response.read().decode()
        return response
    finally:
        connection.close()


def frame(first, payload=b"", mask=b"\x12\x34\x56\x78", length=None):
    """A client frame by hand: `first` is FIN, RSV and opcode; `mask=None` leaves the masking out."""
    length = len(payload) if length is None else length
    bit = 0 if mask is None else 0x80
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Raw:
    """A socket that has upgraded and on which the test writes every byte itself."""

    def __init__(self, server, path="/"):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT)
        self.reader = self.socket.makefile("rb")
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
        lines += [f"{name}: {value}" for name, value in UPGRADE.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())
        self.head = []
        while line := self.reader.readline().decode().strip():
            self.head.append(line)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next frame, (first byte, payload), or None when the server has ended the connection."""
        head = self.reader.read(2)
        if not head:
            return None
        first, length = head
        if length == 126:
            (length,) = struct.unpack("!H", self.reader.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.reader.read(8))
        return first, self.reader.read(length)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.socket.close()


if not os.environ.get("CLIENTS_BINARY"):
    sys.exit("start these tests with the script `run` in the folder above")
