"""The gateway behind proxies: the documented configuration works, and each mistake in it is named."""

import unittest

import support
from support import Gateway, caddy, doctor, haproxy, nginx

OUTER = support.outer_address()


class Behind(unittest.TestCase):
    def start(self, make, *arguments):
        process = make(*arguments)
        self.addCleanup(process.stop)
        return process

    def gateway(self, *arguments, settings=""):
        gateway = Gateway(*arguments, settings=settings)
        self.addCleanup(gateway.stop)
        return gateway

    def assert_named(self, finding, url, *arguments):
        """The doctor's finding, which is an error or a warning with a line that mends it."""
        found, code = doctor(url, *arguments)
        self.assertIn(finding, found, found)
        self.assertNotEqual(code, 0)
        self.assertTrue(found[finding]["fix"])
        return found[finding]

    def assert_good(self, make):
        """What is documented: no finding is bad, and who talks through it is answered."""
        gateway = self.gateway("--trust-proxy", "127.0.0.1")
        proxy = self.start(make, gateway.port)
        support.ready(proxy.url())
        found, code = doctor(proxy.url())
        bad = [one for one in found.values() if one["severity"] in ("warning", "error")]
        self.assertEqual((bad, code), ([], 0))
        for finding in ["upgrade.ok", "login.ok", "ping.ok", "clock.ok"]:
            self.assertIn(finding, found)
        said = support.run("chat", proxy.url(), "--token", support.TOKEN, stdin="hello through the proxy\n")
        self.assertIn("hello through the proxy", said.stdout, said.stderr)
        self.assertEqual(said.returncode, 0)

    def assert_address(self, make):
        """Clients are seen with their own address, whatever they write themselves."""
        if OUTER is None:
            self.skipTest("this machine has no address but loopback")
        gateway = self.gateway("--trust-proxy", "127.0.0.1", "--allow-host", OUTER)
        proxy = self.start(make, gateway.port)
        support.ready(proxy.url())
        found, _ = doctor(proxy.url(OUTER))
        self.assertIn("forwarded.ok", found, found)
        self.assertIn(OUTER, found["forwarded.ok"]["about"])

    def assert_unconfigured(self, make):
        if OUTER is None:
            self.skipTest("this machine has no address but loopback")
        gateway = self.gateway("--allow-host", OUTER)
        proxy = self.start(make, gateway.port)
        support.ready(proxy.url())
        found = self.assert_named("forwarded.unconfigured", proxy.url(OUTER))
        self.assertEqual(found["fix"], "moorline serve --trust-proxy 127.0.0.1")

    def assert_forged(self, make, *changes):
        if OUTER is None:
            self.skipTest("this machine has no address but loopback")
        gateway = self.gateway("--trust-proxy", "127.0.0.1", "--allow-host", OUTER)
        proxy = self.start(make, gateway.port, *changes)
        support.ready(proxy.url())
        self.assert_named("forwarded.forged", proxy.url(OUTER))

    def assert_idle(self, make, *changes):
        gateway = self.gateway()
        proxy = self.start(make, gateway.port, *changes)
        support.ready(proxy.url())
        found = self.assert_named("idle.cut", proxy.url(), "--measure-idle=6")
        self.assertRegex(found["about"], r"after (1\.[5-9]|2\.\d) s of silence")

    def assert_short_pings_mend(self, make, *changes):
        gateway = self.gateway(settings="{limits: {ping_every_ms: 1000, pong_within_ms: 5000}}")
        proxy = self.start(make, gateway.port, *changes)
        support.ready(proxy.url())
        found, _ = doctor(proxy.url(), "--measure-idle")
        self.assertIn("idle.held", found, found)


class Nginx(Behind):
    def test_the_documented_configuration_is_good(self):
        self.assert_good(nginx)

    def test_clients_have_their_own_address(self):
        self.assert_address(nginx)

    def test_a_proxy_that_is_not_trusted_is_named(self):
        self.assert_unconfigured(nginx)

    def test_a_forged_address_that_is_believed_is_named(self):
        self.assert_forged(nginx, ("proxy_set_header X-Forwarded-For $remote_addr;", ""))

    def test_missing_headers_are_named(self):
        gateway = self.gateway()
        both = [("proxy_set_header Upgrade $http_upgrade;", ""), ('proxy_set_header Connection "upgrade";', "")]
        for changes in [both, both[:1], both[1:]]:
            proxy = self.start(nginx, gateway.port, *changes)
            found = self.assert_named("proxy.upgrade-header-missing", proxy.url())
            self.assertIn("proxy_set_header Upgrade $http_upgrade;", found["fix"])

    def test_the_connection_header_alone_is_what_the_finding_says(self):
        gateway = self.gateway()
        proxy = self.start(nginx, gateway.port, ('proxy_set_header Connection "upgrade";', ""))
        about = self.assert_named("proxy.upgrade-header-missing", proxy.url())["about"]
        lacking = about.split("the request lacks: ")[1].split(".")[0]
        self.assertEqual(lacking, "Connection: Upgrade")

    def test_http_1_0_is_named(self):
        gateway = self.gateway()
        proxy = self.start(nginx, gateway.port, ("proxy_http_version 1.1;", "proxy_http_version 1.0;"))
        self.assertEqual(self.assert_named("proxy.http-1.0", proxy.url())["fix"], "proxy_http_version 1.1;")

    def test_a_short_idle_limit_is_measured(self):
        self.assert_idle(nginx, ("proxy_read_timeout 75s;", "proxy_read_timeout 2s;"))

    def test_pings_within_a_short_idle_limit_keep_connections(self):
        self.assert_short_pings_mend(nginx, ("proxy_read_timeout 75s;", "proxy_read_timeout 2s;"))

    def test_a_wrong_upstream_is_named(self):
        proxy = self.start(nginx, support.free_port())
        self.assert_named("proxy.bad-gateway", proxy.url())

    def test_tls_to_the_plain_gateway_is_named(self):
        gateway = self.gateway()
        proxy = self.start(nginx, gateway.port, ("proxy_pass http://", "proxy_pass https://"))
        self.assert_named("proxy.bad-gateway", proxy.url())

    def test_a_name_that_the_gateway_does_not_know_is_named(self):
        gateway = self.gateway()
        changes = ("proxy_set_header Host $http_host;", "proxy_set_header Host chat.example.com;")
        proxy = self.start(nginx, gateway.port, changes)
        found = self.assert_named("gateway.host-refused", proxy.url())
        self.assertEqual(found["fix"], "moorline serve --allow-host chat.example.com")

    def test_a_login_of_the_proxy_is_named(self):
        gateway = self.gateway()
        proxy = self.start(nginx, gateway.port, ("location / {", 'location / { return 302 /login; }\nlocation /x {'))
        self.assert_named("proxy.login-page", proxy.url())


class Haproxy(Behind):
    def test_the_documented_configuration_is_good(self):
        self.assert_good(haproxy)

    def test_clients_have_their_own_address(self):
        self.assert_address(haproxy)

    def test_a_proxy_that_is_not_trusted_is_named(self):
        self.assert_unconfigured(haproxy)

    def test_a_forged_address_that_is_believed_is_named(self):
        self.assert_forged(haproxy, ("http-request set-header X-Forwarded-For %[src]", ""))

    def test_missing_headers_are_named(self):
        gateway = self.gateway()
        changes = ("default_backend", "http-request del-header Upgrade\n    default_backend")
        proxy = self.start(haproxy, gateway.port, changes)
        self.assert_named("proxy.upgrade-header-missing", proxy.url())

    def test_a_short_idle_limit_is_measured(self):
        self.assert_idle(haproxy, ("timeout tunnel 75s", "timeout tunnel 2s"))

    def test_a_gateway_that_is_not_there_is_named(self):
        proxy = self.start(haproxy, support.free_port())
        found, _ = doctor(proxy.url())
        self.assertIn("proxy.no-server", found, found)


class Caddy(Behind):
    def test_the_documented_configuration_is_good(self):
        self.assert_good(caddy)

    def test_clients_have_their_own_address(self):
        self.assert_address(caddy)

    def test_a_gateway_that_is_not_there_is_named(self):
        proxy = self.start(caddy, support.free_port())
        self.assert_named("proxy.bad-gateway", proxy.url())


if __name__ == "__main__":
    unittest.main()
