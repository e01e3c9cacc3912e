"""`moorline serve` with the official client of OpenAI's API."""

import concurrent.futures
import pathlib
import tempfile
import unittest

import openai
from support import TOKEN, WAIT, gateway, login

TEXT = "one two three"
SAID = [{"role": "user", "content": TEXT}]
LONG = [{"role": "user", "content": " ".join(str(n) for n in range(3_000))}]


def client(server, token=TOKEN, **options):
    options.setdefault("max_retries", 0)
    url = f"http://127.0.0.1:{server.port}/v1"
    return openai.OpenAI(base_url=url, api_key=token, timeout=WAIT, **options)


class Completions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.state = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="moorline-openai-"))
        config = pathlib.Path(cls.state, "moorline.json5")
        config.write_text("{loops: 3, agents: [{id: 'echo'}, {id: 'second'}]}")
        cls.server = cls.enterClassContext(gateway(state=cls.state))

    def setUp(self):
        self.client = self.enterContext(client(self.server))

    def test_agents_are_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["echo", "second"])
        self.assertEqual(self.client.models.retrieve("openclaw/second").id, "second")

    def test_a_completion(self):
        answer = self.client.chat.completions.create(model="echo", messages=SAID)
        self.assertEqual(answer.choices[0].message.content, TEXT)
        self.assertEqual((answer.choices[0].finish_reason, answer.model), ("stop", "echo"))
        self.assertEqual(answer.usage.total_tokens, 0)

    def test_a_stream(self):
        stream = self.client.chat.completions.create(
            model="echo", messages=SAID, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        self.assertEqual([piece for piece in pieces if piece], ["one ", "two ", "three"])
        self.assertEqual(chunks[-2].choices[0].finish_reason, "stop")
        self.assertEqual((chunks[-1].choices, chunks[-1].usage.total_tokens), ([], 0))

    def test_the_helper_for_streams_gathers_the_whole_answer(self):
        with self.client.chat.completions.stream(model="echo", messages=SAID) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].message.content, TEXT)

    def test_sessions_are_those_of_the_websocket(self):
        for n in range(6):
            key = f"agent:echo:openai-{n}"
            header = {"X-Moorline-Session-Key": key, "X-GoClaw-User-Id": "ana"}
            for stream in (False, True):
                answer = self.client.chat.completions.create(
                    model="echo", messages=SAID, stream=stream, extra_headers=header
                )
                if stream:
                    pieces = [chunk.choices[0].delta.content or "" for chunk in answer]
                    self.assertEqual("".join(pieces), TEXT)
            with login(self.server) as ws:
                history = ws.call("chat.history", sessionKey=key)["messages"]
                self.assertEqual([message["content"] for message in history], [TEXT] * 4)

    def test_a_user_has_a_session(self):
        self.client.chat.completions.create(model="echo", messages=SAID, user="u-1")
        with login(self.server, user="default") as ws:
            history = ws.call("chat.history", sessionKey="agent:echo:openai-user:default:u-1")
            self.assertEqual(len(history["messages"]), 2)

    def test_each_error_is_raised_as_its_class(self):
        wrong = self.enterContext(client(self.server, token="wrong"))
        with self.assertRaises(openai.AuthenticationError) as raised:
            wrong.chat.completions.create(model="echo", messages=SAID)
        self.assertEqual(raised.exception.code, "invalid_api_key")
        with self.assertRaises(openai.NotFoundError) as raised:
            self.client.chat.completions.create(model="gpt-4o", messages=SAID)
        self.assertEqual(raised.exception.code, "model_not_found")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4o")
        with self.assertRaises(openai.BadRequestError) as raised:
            self.client.chat.completions.create(model="echo", messages=SAID, n=2)
        self.assertEqual((raised.exception.param, raised.exception.code), ("n", "unsupported_parameter"))
        picture = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
        with self.assertRaises(openai.BadRequestError) as raised:
            self.client.chat.completions.create(model="echo", messages=[{"role": "user", "content": picture}])
        self.assertRegex(raised.exception.message, "image_url")

    def test_what_is_somebody_elses_is_forbidden(self):
        name = {"X-Moorline-Session-Key": "private"}
        with login(self.server) as ws:
            made = ws.call("api_keys.create", name="eve", role="operator", user="eve")
        self.client.chat.completions.create(model="echo", messages=SAID, extra_headers=name)
        eve = self.enterContext(client(self.server, token=made["key"]))
        with self.assertRaises(openai.PermissionDeniedError):
            eve.chat.completions.create(model="echo", messages=SAID, extra_headers=name)

    def test_a_stream_that_is_closed_ends_its_run(self):
        stream = self.client.chat.completions.create(model="echo", messages=LONG, stream=True)
        run = next(iter(stream)).id.removeprefix("chatcmpl-")
        stream.close()
        with login(self.server, user="default") as ws:
            ended = ws.call("agent.wait", runId=run, timeoutMs=WAIT * 1000)
        self.assertEqual(ended["state"], "cancelled")

    def test_a_retry_with_a_key_gets_the_same_answer(self):
        key = {"Idempotency-Key": "retry-1"}
        first, second = (
            self.client.chat.completions.create(model="echo", messages=SAID, extra_headers=key) for _ in range(2)
        )
        self.assertEqual(first.id, second.id)

    def test_threads_may_ask_at_once(self):
        def ask(n):
            said = [{"role": "user", "content": f"I am {n}"}]
            stream = self.client.chat.completions.create(model="echo", messages=said, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertEqual(list(pool.map(ask, range(64))), [f"I am {n}" for n in range(64)])


class Limits(unittest.TestCase):
    def test_who_asks_too_often_is_told_when_to_come_back(self):
        with tempfile.TemporaryDirectory(prefix="moorline-openai-") as state:
            config = pathlib.Path(state, "moorline.json5")
            config.write_text("{gateway: {rate_limit_rpm: 60, rate_limit_burst: 1}}")
            with gateway(state=state) as server, client(server) as one, client(server, max_retries=2) as patient:
                one.chat.completions.create(model="echo", messages=SAID)
                with self.assertRaises(openai.RateLimitError) as raised:
                    one.chat.completions.create(model="echo", messages=SAID)
                self.assertEqual(raised.exception.response.headers["retry-after"], "1")
                answer = patient.chat.completions.create(model="echo", messages=SAID)
                self.assertEqual(answer.choices[0].message.content, TEXT)
