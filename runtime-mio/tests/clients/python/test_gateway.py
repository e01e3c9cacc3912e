"""`moorline serve` with the client `websockets`: login, chat, wrong frames, and the process around it."""

import json
import os
import pathlib
import re
import signal
import socket
import stat
import tempfile
import unittest

from support import TOKEN, Client, Server, connect, ending, gateway, login, request, serve
from websockets.exceptions import InvalidStatus

WORDS = " ".join(["word"] * 500)
LIMIT = 524_288


class Login(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(gateway())

    def setUp(self):
        self.client = Client(self.enterContext(connect(self.server.url)))

    def test_the_first_frame_is_the_challenge(self):
        self.client.refused("health")
        first = self.client.frames[0]
        self.assertEqual((first["type"], first["event"]), ("event", "connect.challenge"))

    def test_the_token_is_taken_from_params_or_header(self):
        header = {"Authorization": f"Bearer {TOKEN}"}
        with login(self.server) as by_params, login(self.server, token=None, additional_headers=header) as by_header:
            for hello in (by_params.hello, by_header.hello):
                self.assertEqual((hello["type"], hello["protocol"], hello["role"]), ("hello-ok", 3, "admin"))

    def test_a_wrong_token_is_refused_and_the_right_one_still_works(self):
        error = self.client.refused("connect", token="wrong", user_id="ana")
        self.assertEqual(error["code"], "UNAUTHORIZED")
        self.assertRegex(error["message"], "token.*params|params.*token")
        self.assertEqual(self.client.call("connect", token=TOKEN, user_id="ana")["user_id"], "ana")

    def test_no_token_at_all_is_refused(self):
        self.assertEqual(self.client.refused("connect", user_id="ana")["code"], "UNAUTHORIZED")

    def test_a_method_before_connect_is_refused(self):
        error = self.client.refused("chat.send", message="hello")
        self.assertEqual((error["code"], error["message"]), ("UNAUTHORIZED", "first request must be 'connect'"))

    def test_invalid_frames_are_answered_until_the_16th_closes(self):
        for raw, start in [("[", "invalid frame: "), ("{}", "unexpected frame type: ")]:
            error = self.client.answer(raw)["error"]
            self.assertEqual(error["code"], "INVALID_REQUEST")
            self.assertTrue(error["message"].startswith(start), error)
        malformed = self.client.answer('{"type":"req","id":7}')["error"]["message"]
        self.assertTrue(malformed.startswith("malformed request: "), malformed)
        for _ in range(13):
            self.client.ws.send(b"\x00")
        self.assertEqual(ending(self.client.ws), (1008, "too many invalid frames"))

    def test_a_message_over_the_limit_closes_with_1009(self):
        with login(self.server) as client:
            client.ws.send("x" * (LIMIT + 1))
            code, reason = ending(client.ws)
            self.assertEqual(code, 1009)
            self.assertTrue(reason.startswith(f"message of {LIMIT + 1} bytes exceeds {LIMIT}"), reason)

    def test_another_origin_is_refused_before_the_upgrade(self):
        with self.assertRaises(InvalidStatus) as refused, connect(self.server.url, origin="https://evil.example"):
            pass
        self.assertEqual(refused.exception.response.status_code, 403)
        self.assertIn(b"https://evil.example", refused.exception.response.body)
        with connect(self.server.url, origin=f"http://127.0.0.1:{self.server.port}"):
            pass

    def test_plain_http_answers_on_the_same_port(self):
        health = request(self.server, path="/health")
        self.assertEqual(health.status, 200)
        self.assertEqual(json.loads(health.text) | {"status": "ok", "protocol": 3}, json.loads(health.text))
        ready = request(self.server, path="/ready")
        self.assertEqual(ready.status, 200)
        self.assertTrue(json.loads(ready.text)["checks"])
        self.assertEqual(request(self.server, path="/nope").status, 404)


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(gateway())

    def setUp(self):
        self.client = self.enterContext(login(self.server))

    def history(self, session):
        messages = self.client.call("chat.history", sessionKey=session)["messages"]
        return [(message["role"], message["content"]) for message in messages]

    def test_the_answer_is_streamed_in_chunks_and_kept(self):
        message = "Grüße aus vielen Wörtern 🙂"
        sent = self.client.say(message)
        chunks = [event["payload"]["content"] for event in self.client.run_events("chunk")]
        self.assertGreater(len(chunks), 1)
        self.assertEqual(["".join(chunks), sent["content"]], [message, message])
        self.assertEqual(self.client.run_event("run.completed")["runId"], sent["runId"])
        self.assertEqual(self.history(sent["sessionKey"]), [("user", message), ("assistant", message)])
        sessions = self.client.call("sessions.list", limit=100)["sessions"]
        self.assertIn(sent["sessionKey"], [session["key"] for session in sessions])

    def test_a_run_goes_on_when_its_client_has_left(self):
        with login(self.server) as leaving:
            session = leaving.say("one two three", ack=True)["sessionKey"]
        self.client.run_event("run.completed")
        self.assertEqual(self.history(session)[-1], ("assistant", "one two three"))

    def test_a_long_run_can_be_aborted(self):
        started = self.client.say(WORDS, ack=True)
        self.assertEqual(started["status"], "started")
        self.client.run_event("chunk")
        aborted = self.client.call("chat.abort", sessionKey=started["sessionKey"])
        self.assertEqual((aborted["aborted"], aborted["runIds"]), (True, [started["runId"]]))
        self.assertEqual(self.client.run_event("run.cancelled")["runId"], started["runId"])
        status = self.client.call("chat.session.status", sessionKey=started["sessionKey"])
        self.assertFalse(status["isRunning"])

    def test_the_same_idempotency_key_runs_once(self):
        first = self.client.say("only once", idempotencyKey="python-1")
        with login(self.server) as other:
            again = other.say("only once", idempotencyKey="python-1")
        self.assertEqual(again["runId"], first["runId"])
        self.assertEqual(len(self.history(first["sessionKey"])), 2)

    def test_an_injected_message_shows_in_the_history(self):
        session = self.client.say("hello")["sessionKey"]
        self.client.call("chat.inject", sessionKey=session, message="from outside")
        self.assertIn("from outside", self.history(session)[-1][1])


class Process(unittest.TestCase):
    def test_the_token_of_the_first_run_is_kept_private_and_works_in_the_second(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        with gateway(state=folder, token=None) as first:
            token = re.match(r"token: (\S+)  \(kept in ", first.line("token: "))[1]
            self.assertEqual(stat.S_IMODE((folder / "token").stat().st_mode), 0o600)
        with gateway(state=folder, token=None) as second:
            self.assertNotIn(token, "".join(second.lines))
            with login(second, token=token) as client:
                self.assertEqual(client.hello["role"], "admin")

    def test_sigterm_and_sigint_close_with_1001_and_exit_0(self):
        for name in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(name), gateway() as server, login(server) as client:
                server.process.send_signal(name)
                self.assertEqual(ending(client.ws), (1001, "going away"))
                self.assertEqual(server.exit_code(), 0)

    def test_an_address_held_by_another_program_exits_78_and_names_it(self):
        holder = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        folder = self.enterContext(tempfile.TemporaryDirectory())
        address = "127.0.0.1:%d" % holder.getsockname()[1]
        with Server(*serve(folder, listen=address)) as server:
            self.assertEqual(server.exit_code(), 78, server.stderr)
            self.assertRegex(server.stderr, rf"\b{os.getpid()}\b")
            self.assertIn("python", server.stderr)

    def test_the_address_of_a_killed_gateway_is_free_at_once(self):
        with gateway() as first, login(first) as client:
            first.stop(signal.SIGKILL)
            self.assertEqual(ending(client.ws)[0], 1006)
            with gateway(listen=f"127.0.0.1:{first.port}") as second, login(second) as again:
                self.assertEqual(again.hello["role"], "admin")


if __name__ == "__main__":
    unittest.main()
