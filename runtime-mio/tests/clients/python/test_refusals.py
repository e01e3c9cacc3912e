"""`moorline echo` against raw sockets that break the protocol, and http.client refused with the right status."""

import struct
import unittest

from support import KEY, UPGRADE, WAIT, Raw, connect, echo, frame, gateway, request

SURROGATE = b"\xce\xba\xed\xa0\x80"

# What is written after the upgrade, and the code of the Close that answers it.
BROKEN = {
    "an unmasked frame": (frame(0x81, b"hello", mask=None), 1002),
    "an unmasked close": (frame(0x88, b"\x03\xe8", mask=None), 1002),
    "RSV1 without an extension": (frame(0xC1, b"hello"), 1002),
    "RSV2": (frame(0xA1, b"hello"), 1002),
    "RSV3": (frame(0x91, b"hello"), 1002),
    "reserved data opcode 3": (frame(0x83), 1002),
    "reserved control opcode 11": (frame(0x8B), 1002),
    "a ping of 126 bytes": (frame(0x89, b"x" * 126), 1002),
    "a fragmented ping": (frame(0x09, b"x"), 1002),
    "a continuation of nothing": (frame(0x80, b"x"), 1002),
    "a new message inside a message": (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
    "a length with the highest bit set": (frame(0x82, length=1 << 63), 1002),
    "a close of one byte": (frame(0x88, b"a"), 1002),
    "a close of 126 bytes": (frame(0x88, struct.pack("!H", 1000) + b"x" * 124), 1002),
    "close code 1005": (frame(0x88, struct.pack("!H", 1005)), 1002),
    "close code 999": (frame(0x88, struct.pack("!H", 999)), 1002),
    "invalid UTF-8": (frame(0x81, SURROGATE), 1007),
    "a text cut inside a code point": (frame(0x81, b"\xe2\x82"), 1007),
    "invalid UTF-8 over two fragments": (frame(0x01, b"\xce\xba\xed") + frame(0x80, b"\xa0\x80"), 1007),
    "invalid UTF-8 in a frame that is not complete": (frame(0x81, SURROGATE, length=1000), 1007),
    "a header that claims 1 TiB": (frame(0x82, length=1 << 40), 1009),
    "a header of one byte over the limit": (frame(0x82, length=(1 << 16) + 1), 1009),
    "fragments over the limit": (frame(0x02, b"x" * (1 << 15)) + frame(0x00, b"x" * (1 << 15)) * 2, 1009),
}


class Frames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(echo("--max-message", "64KiB"))

    def test_each_broken_frame_is_answered_with_its_close_code_and_then_the_end(self):
        for name, (written, code) in BROKEN.items():
            with self.subTest(name), Raw(self.server) as raw:
                self.assertIn("101", raw.head[0])
                raw.send(written)
                first, payload = raw.receive()
                self.assertEqual((first, struct.unpack("!H", payload[:2])[0]), (0x88, code))
                payload[2:].decode()  # a reason, if any, is UTF-8
                raw.send(frame(0x88, payload[:2]))
                self.assertIsNone(raw.receive())

    def test_what_was_complete_before_the_error_is_still_answered(self):
        with Raw(self.server) as raw:
            raw.send(frame(0x81, b"fine") + frame(0x89, b"ping") + frame(0x83))
            answers = [raw.receive(), raw.receive()]
            self.assertCountEqual(answers, [(0x81, b"fine"), (0x8A, b"ping")])
            self.assertEqual(raw.receive()[1][:2], struct.pack("!H", 1002))

    def test_nothing_is_answered_after_a_close(self):
        with Raw(self.server) as raw:
            raw.send(frame(0x88, struct.pack("!H", 1000)) + frame(0x81, b"late") + frame(0x89))
            self.assertEqual(raw.receive(), (0x88, struct.pack("!H", 1000)))
            self.assertIsNone(raw.receive())

    def test_others_do_not_suffer(self):
        with connect(self.server.url) as ws:
            for written, _ in BROKEN.values():
                with Raw(self.server) as raw:
                    raw.send(written)
            ws.send("still here")
            self.assertEqual(ws.recv(timeout=WAIT), "still here")


def without(*names):
    return {name: value for name, value in UPGRADE.items() if name not in names}


def many_headers(count):
    """Host and the upgrade headers make 5; the rest fills up to `count`."""
    return UPGRADE | {f"X-{i}": "x" for i in range(count - 5)}


# What http.client sends to /ws, and the status that answers it.
REQUESTS = {
    "an upgrade": ({"headers": UPGRADE}, 101),
    "names and tokens in any letter case": (
        {"headers": {name.lower(): value if value == KEY else value.upper() for name, value in UPGRADE.items()}},
        101,
    ),
    "Connection as a list": ({"headers": UPGRADE | {"Connection": "keep-alive, Upgrade"}}, 101),
    "64 headers": ({"headers": many_headers(64)}, 101),
    "a key that is no base64": ({"headers": UPGRADE | {"Sec-WebSocket-Key": "!!!"}}, 400),
    "a key of 17 bytes": ({"headers": UPGRADE | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAA="}}, 400),
    "two keys": ({"headers": [*UPGRADE.items(), ("Sec-WebSocket-Key", KEY)]}, 400),
    "two Hosts": ({"headers": [*UPGRADE.items(), ("Host", "other.example")]}, 400),
    "no Host": ({"headers": UPGRADE, "skip_host": True}, 400),
    "no Upgrade": ({"headers": without("Upgrade")}, 426),
    "nothing but a GET": ({}, 426),
    "version 8": ({"headers": UPGRADE | {"Sec-WebSocket-Version": "8"}}, 426),
    "POST": ({"method": "POST", "headers": UPGRADE}, 405),
    "65 headers": ({"headers": many_headers(65)}, 431),
    "a head of more than 16 KiB": ({"headers": UPGRADE | {"X-Pad": "x" * 17_000}}, 431),
    "a target of more than 8 KiB": ({"path": "/" + "x" * 9_000, "headers": UPGRADE}, 414),
}


class HttpClient(unittest.TestCase):
    def assert_refused_right(self, server):
        for name, (options, status) in REQUESTS.items():
            with self.subTest(name):
                response = request(server, **{"path": "/ws"} | options)
                self.assertEqual(response.status, status, response.text)
                if status == 101:
                    self.assertEqual(response.getheader("Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                else:
                    self.assertIn("close", response.getheader("Connection").split(", "))
                    self.assertTrue(response.text.strip(), "the body says what was wrong")
                if name == "version 8":
                    self.assertEqual(response.getheader("Sec-WebSocket-Version"), "13")
                if name == "nothing but a GET":
                    self.assertRegex(response.text, r"(?is)(?=.*\bUpgrade\b)(?=.*Sec-WebSocket-Key)")

    def test_echo_answers_each_request_with_its_status(self):
        self.assert_refused_right(self.enterContext(echo()))

    def test_the_gateway_answers_each_request_with_its_status(self):
        self.assert_refused_right(self.enterContext(gateway()))

    def test_the_gateway_names_the_origin_it_refuses(self):
        server = self.enterContext(gateway())
        response = request(server, path="/ws", headers=UPGRADE | {"Origin": "https://evil.example"})
        self.assertEqual(response.status, 403)
        self.assertIn("https://evil.example", response.text)
        own = f"http://127.0.0.1:{server.port}"
        self.assertEqual(request(server, path="/ws", headers=UPGRADE | {"Origin": own}).status, 101)


if __name__ == "__main__":
    unittest.main()
