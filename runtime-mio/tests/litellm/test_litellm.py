"""Chats through the gateway with models behind LiteLLM's proxy."""

import asyncio
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import websockets

BINARY = os.environ["LITELLM_TEST_BINARY"]
FOLDER = pathlib.Path(os.environ["LITELLM_TEST_FOLDER"])
KEY = "sk-litellm-canary"
# LiteLLM imports for long on a machine that has other work.
PATIENCE = 120


class Model(BaseHTTPRequestHandler):
    """A model that does what its name says."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
        if body["model"] == "calls":
            self.tell({"role": "assistant", "content": None, "tool_calls": [call]})
            for part in ['{"city"', ': "Ulm"}']:
                self.tell({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
            self.tell({}, "tool_calls")
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.tell({"role": "assistant", "content": "half an ans"})

    def tell(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(command, folder, name, ready):
    """Starts a process and waits until it says that it is ready; gives the line."""
    log = folder / f"{name}.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, cwd=folder)
    found = []

    def read():
        with open(log, "ab") as out:
            for line in process.stdout:
                if ready in line:
                    found.append(line)
                    event.set()
                out.write(line)
        event.set()

    event = threading.Event()
    threading.Thread(target=read, daemon=True).start()
    if not event.wait(PATIENCE) or not found:
        process.kill()
        sys.exit(f"{name} did not start: {log.read_text()[-3000:]}")
    return process, found[0].decode()


def agent(name, proxy, key=KEY):
    backend = {"type": "openai", "base_url": proxy, "model": name, "api_key": key, "retries": 1, "retry_first_ms": 50}
    return {"id": name if key == KEY else "stranger", "backend": backend}


class LiteLlm(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        folder = FOLDER / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cls.model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
        threading.Thread(target=cls.model.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{cls.model.server_port}/v1"

        def mock(name, said):
            return {"model_name": name, "litellm_params": {"model": "openai/x", "api_key": "x", "mock_response": said}}

        def played(name):
            return {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "x", "api_base": base}}

        models = [
            mock("says", "Hello from behind two gateways"),
            mock("broken", "litellm.InternalServerError"),
            mock("limited", "litellm.RateLimitError"),
            played("calls"),
            played("cut"),
        ]
        config = {
            "model_list": models,
            "general_settings": {"master_key": KEY},
            "litellm_settings": {"num_retries": 0},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        }
        # JSON is YAML, too.
        (folder / "config.yaml").write_text(json.dumps(config))
        port = free_port()
        command = [str(pathlib.Path(sys.executable).parent / "litellm")]
        command += ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
        # Its log is on stderr, as its readiness is.
        shell = ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]
        cls.litellm, _ = start(shell, folder, "litellm", b"Uvicorn running")
        proxy = f"http://127.0.0.1:{port}"
        state = folder / "state"
        state.mkdir()
        agents = [agent(model["model_name"], proxy) for model in models]
        agents += [agent("nobody", proxy), agent("says", proxy, "sk-wrong")]
        file = state / "moorline.json5"
        file.write_text(json.dumps({"agents": agents}))
        file.chmod(0o600)
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--token", "t", "--state-dir", str(state)]
        cls.gateway, line = start(command, folder, "gateway", b"ws://")
        cls.url = "ws://" + line.split("ws://")[1].strip()

    @classmethod
    def tearDownClass(cls):
        for process in [cls.gateway, cls.litellm]:
            process.kill()
            process.wait()
        cls.model.shutdown()

    async def asyncSetUp(self):
        self.socket = await websockets.connect(self.url)
        self.ids = 0
        await self.call("connect", token="t", user_id="ann")

    async def asyncTearDown(self):
        await self.socket.close()

    async def call(self, method, **params):
        self.ids += 1
        await self.socket.send(json.dumps({"type": "req", "id": str(self.ids), "method": method, "params": params}))
        self.events = []
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
            if message["type"] == "res" and message["id"] == str(self.ids):
                return message
            if message.get("event") == "agent":
                self.events.append(message["payload"])

    async def say(self, agent):
        return await self.call("chat.send", message="hello", agentId=agent)

    def told(self, kind):
        return [event["payload"] for event in self.events if event["type"] == kind]

    async def test_an_answer_streams_and_its_usage_is_told(self):
        answer = (await self.say("says"))["payload"]
        self.assertEqual(answer["content"], "Hello from behind two gateways")
        self.assertGreater(answer["usage"]["completion_tokens"], 0)
        self.assertGreater(answer["usage"]["prompt_tokens"], 0)
        text = "".join(chunk["content"] for chunk in self.told("chunk"))
        self.assertEqual(text, answer["content"])

    async def test_a_tool_call_is_put_together(self):
        answer = (await self.say("calls"))["payload"]
        self.assertEqual(answer["stopReason"], "tool_calls")
        [call] = self.told("tool.call")
        self.assertEqual((call["name"], call["arguments"]), ("look", {"city": "Ulm"}))

    async def test_errors_are_told_with_their_codes_after_one_more_try(self):
        for agent, code, status in [("broken", "UNAVAILABLE", "500"), ("limited", "RESOURCE_EXHAUSTED", "429")]:
            error = (await self.say(agent))["error"]
            self.assertEqual(error["code"], code)
            self.assertIn(f"answered {status}", error["message"])
            self.assertGreater(error["retryAfterMs"], 0)
            self.assertEqual(len(self.told("run.retrying")), 1)

    async def test_an_unknown_model_and_a_wrong_key_are_not_tried_again(self):
        for agent in ["nobody", "stranger"]:
            error = (await self.say(agent))["error"]
            self.assertIn(error["code"], ["INVALID_REQUEST", "FAILED_PRECONDITION"])
            self.assertFalse(error["retryable"])
            self.assertEqual(self.told("run.retrying"), [])
            self.assertNotIn("sk-wrong", error["message"])

    async def test_an_answer_that_is_cut_off_is_no_answer(self):
        message = await self.say("cut")
        # LiteLLM may end such a stream as if it were whole; then that is what the gateway is told.
        if message["ok"]:
            self.assertEqual(message["payload"]["content"], "half an ans")
        else:
            self.assertEqual(message["error"]["code"], "UNAVAILABLE")
        self.assertEqual((await self.say("says"))["ok"], True)

    async def test_nothing_that_was_said_to_it_is_in_the_log(self):
        log = (FOLDER / "run" / "gateway.log").read_text()
        self.assertNotIn(KEY, log)


if __name__ == "__main__":
    unittest.main()
