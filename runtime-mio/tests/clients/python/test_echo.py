"""`moorline echo` with the client `websockets`: what is sent comes back."""

import asyncio
import os
import unittest

from support import WAIT, Raw, connect, echo, ending, frame
from websockets.asyncio.client import connect as asyncio_connect

MIB = 1024 * 1024


class Echo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(echo())

    def setUp(self):
        self.ws = self.enterContext(connect(self.server.url))

    def assert_comes_back(self, message):
        self.ws.send(message)
        received = self.ws.recv(timeout=WAIT)
        self.assertIs(type(received), type(message))
        self.assertTrue(received == message, f"{len(message)} sent, {len(received)} received")

    def test_text_and_binary_come_back_unchanged(self):
        for message in ["hello", bytes(range(256)), "x" * 125, "x" * 126, b"x" * 65_535, b"x" * 65_536]:
            with self.subTest(kind=type(message), size=len(message)):
                self.assert_comes_back(message)

    def test_empty_messages_come_back_empty(self):
        self.assert_comes_back("")
        self.assert_comes_back(b"")

    def test_text_in_many_scripts_comes_back_unchanged(self):
        self.assert_comes_back("grüße, κόσμε, мир, 世界, 🙂, \U0010ffff, \0")

    def test_1_mib_comes_back_byte_for_byte(self):
        self.assert_comes_back("ä€🙂x" * (MIB // 10 + 1))
        self.assert_comes_back(os.urandom(MIB))

    def test_fragments_come_back_as_one_message(self):
        self.ws.send(["grü", "", "ße"])
        self.assertEqual(self.ws.recv(timeout=WAIT), "grüße")
        self.ws.send(bytes([i % 256]) for i in range(1000))
        self.assertEqual(self.ws.recv(timeout=WAIT), bytes(i % 256 for i in range(1000)))
        self.ws.send(["", "", ""])
        self.assertEqual(self.ws.recv(timeout=WAIT), "")

    def test_ping_is_answered_with_its_payload(self):
        for payload in [b"ping", b"\x00\xff\xfe", b"p" * 125]:
            self.assertTrue(self.ws.ping(payload).wait(WAIT), payload)

    def test_close_codes_and_reasons_are_echoed(self):
        for code, reason in [(1000, "done"), (1001, "leaving"), (3000, ""), (4999, "größte"), (1000, "r" * 123)]:
            with self.subTest(code=code), connect(self.server.url) as ws:
                ws.close(code, reason)
                answer = ws.protocol.close_rcvd
                self.assertEqual((answer.code, answer.reason), (code, reason))

    def test_permessage_deflate_is_declined_and_messages_pass(self):
        self.assertIn("permessage-deflate", self.ws.request.headers["Sec-WebSocket-Extensions"])
        self.assertNotIn("Sec-WebSocket-Extensions", self.ws.response.headers)
        self.assert_comes_back("compressible " * 1000)

    def test_200_messages_sent_at_once_come_back_in_order(self):
        messages = [f"{i}:" + "x" * (i * 37) for i in range(200)]
        for message in messages:
            self.ws.send(message)
        self.assertEqual([self.ws.recv(timeout=WAIT) for _ in messages], messages)

    def test_messages_and_pings_in_one_segment_are_all_answered_in_order(self):
        with Raw(self.server) as raw:
            raw.send(b"".join(frame(0x82, b"%d" % i) + frame(0x89, b"%d" % i) for i in range(50)))
            received = [raw.receive() for _ in range(100)]
            for kind in (0x82, 0x8A):  # pongs may overtake messages, but not each other
                payloads = [payload for first, payload in received if first == kind]
                self.assertEqual(payloads, [b"%d" % i for i in range(50)])

    def test_a_message_that_arrives_byte_by_byte_comes_back(self):
        with Raw(self.server) as raw:
            for byte in frame(0x01, "grü".encode()) + frame(0x89, b"ping") + frame(0x80, "ße".encode()):
                raw.send(bytes([byte]))
            self.assertEqual(raw.receive(), (0x8A, b"ping"))
            self.assertEqual(raw.receive(), (0x81, "grüße".encode()))

    def test_half_close_after_a_message_still_gets_the_answer(self):
        with Raw(self.server) as raw:
            raw.send(frame(0x81, b"last words"))
            raw.socket.shutdown(1)
            self.assertEqual(raw.receive(), (0x81, b"last words"))

    def test_more_than_max_message_is_closed_with_1009(self):
        with echo("--max-message", "64KiB") as server, connect(server.url) as ws:
            ws.send("x" * 65_536)
            self.assertEqual(len(ws.recv(timeout=WAIT)), 65_536)
            ws.send("x" * 65_537)
            self.assertEqual(ending(ws)[0], 1009)


class Concurrent(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(echo("--loops", "2"))

    async def test_50_connections_exchange_100_messages_each_at_the_same_time(self):
        async def talk(name):
            async with asyncio_connect(self.server.url, proxy=None) as ws:
                for i in range(100):
                    await ws.send(f"{name}:{i}")
                    self.assertEqual(await asyncio.wait_for(ws.recv(), WAIT), f"{name}:{i}")

        await asyncio.gather(*(talk(name) for name in range(50)))


if __name__ == "__main__":
    unittest.main()
