"""Proxies and the gateway as processes, with configurations from the documentation."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

BINARY = os.environ["PROXIES_BINARY"]
SNIPPETS = Path(os.environ["PROXIES_SNIPPETS"]).read_text()
PATIENCE = 20
TOKEN = "proxy-test-token"


def snippet(name):
    """The part of the documentation that is marked with this name."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", SNIPPETS, re.S)
    assert found, f"docs/proxies.md has no part for {name}"
    return found[1]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def outer_address():
    """An address of this machine that is not loopback, if it has one; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that listens on a port; what it says is kept for when a test fails."""

    def __init__(self, arguments, port, folder):
        self.log = Path(folder, "log")
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        until = time.monotonic() + PATIENCE
        while not listens(port):
            if self.child.poll() is not None or time.monotonic() > until:
                self.stop()
                raise AssertionError(f"{arguments[0]} does not listen: {self.log.read_text()}")
            time.sleep(0.02)

    def stop(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()


def folder():
    return tempfile.mkdtemp(prefix="proxies-")


class Gateway(Process):
    def __init__(self, *arguments, settings=""):
        self.port, self.state = free_port(), folder()
        config = Path(self.state, "moorline.json5")
        config.write_text(settings or "{}")
        config.chmod(0o600)
        listen = f"127.0.0.1:{self.port}"
        super().__init__(
            [BINARY, "serve", "--listen", listen, "--state-dir", self.state, "--token", TOKEN, *arguments],
            self.port,
            self.state,
        )


def placed(text, port, gateway):
    """A configuration with the ports of this test instead of those that people use."""
    assert "8080" in text and "18790" in text, text
    return text.replace("8080", str(port)).replace("18790", str(gateway))


def changed(text, *changes):
    """A configuration with a mistake in it; what is to be changed must be there."""
    for old, new in changes:
        assert old in text, f"{old} is not in docs/proxies.md"
        text = text.replace(old, new)
    return text


def nginx(gateway, *changes):
    port, place = free_port(), folder()
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    text = (
        f"daemon off; pid {place}/pid; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}"
        f"{placed(changed(snippet('nginx'), *changes), port, gateway)}}}\n"
    )
    config = Path(place, "nginx.conf")
    config.write_text(text)
    return Proxy(["nginx", "-e", "stderr", "-c", str(config)], port, place)


def haproxy(gateway, *changes):
    port, place = free_port(), folder()
    config = Path(place, "haproxy.cfg")
    config.write_text(placed(changed(snippet("haproxy"), *changes), port, gateway))
    return Proxy(["haproxy", "-db", "-f", str(config)], port, place)


def caddy(gateway, *changes):
    port, place = free_port(), folder()
    config = Path(place, "Caddyfile")
    text = placed(changed(snippet("caddy"), *changes), port, gateway)
    config.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return Proxy(["caddy", "run", "--adapter", "caddyfile", "--config", str(config)], port, place)


class Proxy(Process):
    def __init__(self, arguments, port, place):
        super().__init__(arguments, port, place)
        self.port = port

    def url(self, host="127.0.0.1"):
        return f"ws://{host}:{self.port}/ws"


def run(*arguments, stdin=""):
    return subprocess.run(
        [BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def doctor(url, *arguments, token=TOKEN):
    """The findings by their ids, and the exit code."""
    empty = folder()
    done = run("doctor", url, "--json", "--token", token, "--state-dir", empty, "--timeout", "5", *arguments)
    assert done.stdout, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return {finding["id"]: finding for finding in findings}, done.returncode


def ready(url):
    """Waits until a proxy has found out that its gateway is there."""
    until = time.monotonic() + PATIENCE
    while run("probe", "--quiet", "--no-login", url).returncode != 0:
        assert time.monotonic() < until, f"nothing answers at {url}"
        time.sleep(0.1)
