"""`/metrics` read by Prometheus's own parser of OpenMetrics, which takes nothing that the format forbids."""

import threading
import unittest

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support import TOKEN, gateway, login, request


def scrape(server, **headers):
    """The families by name."""
    response = request(server, path="/metrics", headers=headers)
    assert response.status == 200, response.text
    return {family.name: family for family in text_string_to_metric_families(response.text)}


def value(families, name, sample=None, **labels):
    """The sum of the samples with these labels."""
    found = [
        each.value
        for each in families[name].samples
        if each.name == (sample or name) and labels.items() <= each.labels.items()
    ]
    assert found, f"{name} {labels}: {families[name].samples}"
    return sum(found)


class Metrics(unittest.TestCase):
    def test_the_stock_parser_takes_it_before_and_after_there_is_something_to_tell(self):
        with gateway("--loops", "2") as server:
            empty = scrape(server)
            with login(server, user='b"\\ob') as client:
                client.say("one two three")
                client.run_event("run.completed")
                client.refused("no.such.method")
                request(server, path="/nothing")
                request(server, headers={"Origin": "https://else.example.com"})
                families = scrape(server)
                self.assertEqual(value(families, "moorline_connections", phase="open"), 1)
            self.assertEqual(empty.keys(), families.keys())
            for name, least in [("moorline_requests", 3), ("moorline_refused_requests", 2), ("moorline_messages", 3)]:
                self.assertGreaterEqual(value(families, name, f"{name}_total"), least, name)
            run = "moorline_run_duration_seconds"
            self.assertEqual(value(families, run, f"{run}_count", agent="echo"), 1)
            buckets = [s for s in families[run].samples if s.name.endswith("_bucket")]
            self.assertEqual(buckets[-1].labels["le"], "+Inf")
            for family in families.values():
                self.assertTrue(family.documentation.endswith("."), family.name)

    def test_it_says_what_it_is_and_a_head_has_the_same_headers(self):
        with gateway() as server:
            get, head = (request(server, method, "/metrics") for method in ("GET", "HEAD"))
            for response in (get, head):
                kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
                self.assertEqual(response.headers["Content-Type"], kind)
                self.assertEqual(response.headers["Cache-Control"], "no-store")
            self.assertEqual(head.text, "")
            self.assertGreater(int(head.headers["Content-Length"]), 1000)

    def test_a_scraper_with_a_key_of_its_own_is_let_in_where_others_are_not(self):
        with gateway() as server, login(server, user="system") as admin:
            key = admin.call("api_keys.create", name="prometheus", role="viewer")["key"]
            through = {"X-Forwarded-For": "203.0.113.9"}
            self.assertEqual(request(server, path="/metrics", headers=through).status, 401)
            for token in (key, TOKEN):
                self.assertIn("moorline_ready", scrape(server, Authorization=f"Bearer {token}", **through))

    def test_scrapes_under_load_are_whole_and_counters_never_fall(self):
        with gateway("--loops", "2") as server:
            done = threading.Event()

            def talk():
                while not done.is_set():
                    with login(server) as client:
                        for _ in range(20):
                            client.call("health")

            threads = [threading.Thread(target=talk) for _ in range(4)]
            for thread in threads:
                thread.start()
            try:
                last = 0
                for _ in range(10):
                    families = scrape(server)
                    requests = value(families, "moorline_requests", "moorline_requests_total")
                    self.assertGreaterEqual(requests, last)
                    self.assertEqual(value(families, "moorline_loop_answered"), 2)
                    last = requests
            finally:
                done.set()
                for thread in threads:
                    thread.join()
            self.assertGreater(last, 0)
