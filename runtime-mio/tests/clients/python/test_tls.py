"""`moorline serve` by TLS with the client `websockets` on OpenSSL."""

import pathlib
import ssl
import subprocess
import tempfile
import unittest

from support import TOKEN, Client, connect, gateway

REQUEST = (
    "openssl req -x509 -newkey {kind} -nodes -days 2 -subj /CN=moorline -addext basicConstraints=critical,CA:FALSE "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out cert.pem -keyout key.pem"
)


class Tls(unittest.TestCase):
    def gateway(self, kind="ec -pkeyopt ec_paramgen_curve:P-256"):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="moorline-tls-")))
        subprocess.run(REQUEST.format(kind=kind).split(), cwd=self.folder, check=True, capture_output=True)
        self.cert = self.folder / "cert.pem"
        return self.enterContext(gateway("--tls-cert", str(self.cert), "--tls-key", str(self.folder / "key.pem")))

    def trust(self, version=None):
        context = ssl.create_default_context(cafile=self.cert)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def test_each_version_and_kind_of_key_carries_large_messages(self):
        for kind in ("rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256"):
            server = self.gateway(kind)
            self.assertTrue(server.url.startswith("wss://"))
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(kind=kind, version=version):
                    with connect(server.url, ssl=self.trust(version)) as ws:
                        client = Client(ws)
                        client.call("connect", token=TOKEN, user_id="ana")
                        text = " ".join(["w" * 1000] * 30)
                        answer = client.call("chat.send", message=text)
                        self.assertEqual(answer["content"], text)

    def test_an_unknown_certificate_is_refused_by_the_client_and_told_by_the_server(self):
        server = self.gateway()
        with self.assertRaises(ssl.SSLCertVerificationError):
            connect(server.url, ssl=ssl.create_default_context())
        with connect(server.url, ssl=self.trust()) as ws:
            self.assertEqual(ws.close_code, None)
        self.assertIn("certificate-refused", server.stderr)


if __name__ == "__main__":
    unittest.main()
