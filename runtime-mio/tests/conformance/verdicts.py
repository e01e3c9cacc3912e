"""Reads the suite's report: every case must be OK, or be one that the suite itself calls informational."""

import json
import sys

# 7.1.6 and 7.13.*: the suite accepts whatever happens.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

with open(sys.argv[1]) as report:
    ((_, cases),) = json.load(report).items()

bad = {}
for case, verdict in cases.items():
    seen = {verdict["behavior"], verdict["behaviorClose"]}
    if not seen <= ({"OK", "INFORMATIONAL"} if case in INFORMATIONAL else {"OK"}):
        bad[case] = verdict
for case, verdict in bad.items():
    print(f"{case}: {verdict['behavior']}, close {verdict['behaviorClose']}, code {verdict.get('remoteCloseCode')}")
print(f"{len(cases) - len(bad)} passed, {len(bad)} failed")
if len(cases) < int(sys.argv[2]):
    sys.exit(f"only {len(cases)} of {sys.argv[2]} cases were run")
sys.exit(1 if bad else 0)
