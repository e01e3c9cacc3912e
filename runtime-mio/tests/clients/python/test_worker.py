"""Workers: the example of docs/worker.md answers, and whatever becomes of those that are killed or share."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from contextlib import contextmanager

from support import WAIT, Client, connect, gateway, login

DOCS = pathlib.Path(__file__).parents[4] / "docs" / "worker.md"
AGENT_TOKEN = "token-of-the-worker-tests"

# Says that it was given a run, and nothing else ever.
STUCK = """
import json, os
from websockets.sync.client import connect
with connect(os.environ["AGENT_URL"], proxy=None) as socket:
    for method, params in [("connect", {"token": os.environ["AGENT_TOKEN"]}), ("agent.register", {})]:
        socket.send(json.dumps({"type": "req", "id": method, "method": method, "params": params}))
    for text in socket:
        if json.loads(text).get("event") == "run.start":
            print("given", flush=True)
"""


def example():
    """The program in the docs."""
    return re.search(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)[1]


@contextmanager
def worker_gateway(**backend):
    """A gateway whose agent `helper` is answered for by workers."""
    with tempfile.TemporaryDirectory(prefix="moorline-workers-") as state:
        backend = {"type": "worker", "token": AGENT_TOKEN, **backend}
        config = {"agents": [{"id": "helper", "backend": backend}]}
        path = pathlib.Path(state, "moorline.json5")
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        with gateway(state=state) as server:
            yield server


@contextmanager
def process(server, program, token=AGENT_TOKEN):
    """A worker in a process of its own, which is killed at the end."""
    environment = {**os.environ, "AGENT_URL": server.url, "AGENT_TOKEN": token}
    worker = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


@contextmanager
def worker(server, **params):
    """A worker in this process."""
    with connect(server.url) as ws:
        client = Client(ws)
        client.hello = client.call("connect", token=AGENT_TOKEN, role="agent")
        client.call("agent.register", **params)
        yield client


def given(client):
    """Waits for a run."""
    start = getattr(client, "taken", 0)
    run = client.until(lambda frame: frame.get("event") == "run.start", start)
    client.taken = client.frames.index(run) + 1
    return run["payload"]


class Documented(unittest.TestCase):
    def test_the_example_answers(self):
        with worker_gateway() as server, process(server, example()), login(server) as client:
            # It waits until the worker is there.
            answer = client.call("chat.send", agentId="helper", message="hello big world")
            self.assertEqual(answer["content"], "You said: hello big world ")
            pieces = [event["payload"]["content"] for event in client.run_events("chunk")]
            self.assertEqual("".join(pieces), answer["content"])
            agents = client.call("agents.list")["agents"]
            self.assertEqual(agents[0]["link"]["workers"]["ready"], 1)

    def test_the_example_ends_when_its_token_is_wrong(self):
        with worker_gateway() as server, process(server, example(), token="wrong") as ended:
            _, said = ended.communicate(timeout=WAIT)
            self.assertEqual(ended.returncode, 1)
            self.assertIn("UNAUTHORIZED", said)


class Lost(unittest.TestCase):
    def lose(self, server, client):
        """A worker is killed in the middle of a run; gives the run."""
        with process(server, STUCK) as stuck:
            run = client.call("chat.send", agentId="helper", message="hello", ack=True)["runId"]
            self.assertEqual(stuck.stdout.readline(), "given\n")
            stuck.send_signal(signal.SIGKILL)
            stuck.wait(WAIT)
        return run

    def test_the_run_of_a_killed_worker_fails_and_says_when_to_come_again(self):
        with worker_gateway() as server, login(server) as client:
            run = self.lose(server, client)
            failed = client.run_event("run.failed")
            self.assertEqual((failed["runId"], failed["payload"]["code"]), (run, "UNAVAILABLE"))
            self.assertGreater(failed["payload"]["retryAfterMs"], 0)

    def test_the_run_of_a_killed_worker_is_given_to_another(self):
        with worker_gateway(on_lost="requeue") as server, login(server) as client:
            run = self.lose(server, client)
            with process(server, example()):
                done = client.run_event("run.completed")
                self.assertEqual((done["runId"], done["payload"]["content"]), (run, "You said: hello "))
                self.assertEqual(client.run_events("run.retrying")[0]["payload"]["attempt"], 2)


class Shared(unittest.TestCase):
    def test_two_workers_share_and_a_third_run_waits(self):
        with worker_gateway() as server, login(server) as client, worker(server) as one, worker(server) as two:
            runs = [client.call("chat.send", agentId="helper", message="a", ack=True)["runId"] for _ in range(3)]
            self.assertEqual(sorted([given(one)["runId"], given(two)["runId"]]), sorted(runs[:2]))
            first = one if one.frames[-1]["payload"]["runId"] == runs[0] else two
            first.call("run.complete", runId=runs[0], content="done")
            self.assertEqual(given(first)["runId"], runs[2])

    def test_a_run_that_is_stopped_is_cancelled(self):
        with worker_gateway() as server, login(server) as client, worker(server) as one:
            begun = client.call("chat.send", agentId="helper", message="a", ack=True)
            run = given(one)["runId"]
            client.call("chat.abort", sessionKey=begun["sessionKey"])
            cancelled = one.until(lambda frame: frame.get("event") == "run.cancel")["payload"]
            self.assertEqual(cancelled, {"runId": run, "reason": "stopped"})
            self.assertEqual(one.refused("run.delta", runId=run, text="but")["code"], "FAILED_PRECONDITION")


class Ending(unittest.TestCase):
    def test_a_gateway_that_is_stopped_lets_the_worker_end_its_run(self):
        with worker_gateway() as server, login(server) as client, worker(server) as one:
            client.call("chat.send", agentId="helper", message="a", ack=True)
            run = given(one)["runId"]
            server.process.send_signal(signal.SIGTERM)
            one.until(lambda frame: frame.get("event") == "shutdown")
            one.call("run.complete", runId=run, content="in time")
            self.assertEqual(client.run_event("run.completed")["payload"]["content"], "in time")
            self.assertEqual(server.exit_code(), 0)

    def test_a_worker_may_call_nothing_of_clients(self):
        with worker_gateway() as server, worker(server) as one:
            for method in ("chat.send", "health", "connections.list", "api_keys.create"):
                self.assertEqual(one.refused(method)["code"], "UNAUTHORIZED")
            with login(server) as client:
                self.assertEqual(client.refused("run.delta", runId="x", text="a")["code"], "UNAUTHORIZED")


if __name__ == "__main__":
    unittest.main()
