"""Reads the suite's report: so many cases, each OK or one that the suite itself calls informational.

usage: verdicts.py REPORT COUNT    COUNT is the exact number of cases, or "any" for a chosen part.
"""

import json
import sys

# 7.1.6 and 7.13.*: the suite accepts whatever happens.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

path, count = sys.argv[1:]
with open(path) as report:
    ((_, cases),) = json.load(report).items()

bad = {}
for case, verdict in cases.items():
    seen = {verdict["behavior"], verdict["behaviorClose"]}
    if not seen <= ({"OK", "INFORMATIONAL"} if case in INFORMATIONAL else {"OK"}):
        bad[case] = verdict
for case, verdict in bad.items():
    print(f"{case}: {verdict['behavior']}, close {verdict['behaviorClose']}, code {verdict.get('remoteCloseCode')}")
print(f"{len(cases) - len(bad)} passed, {len(bad)} failed")
if not cases or count != "any" and len(cases) != int(count):
    sys.exit(f"{len(cases)} cases were run, not {count}")
sys.exit(1 if bad else 0)
