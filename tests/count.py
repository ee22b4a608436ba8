#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the cases of a meson test run: each is a line of TAP.  A program that ends badly without naming a case counts as one failure.

count.py TESTLOG.JSON STATUS: prints what failed and what the tests measured, the cases of each suite, then `N passed, N failed`; exits 0 only when
nothing failed."""
import collections
import json
import os
import re
import sys

NONE = re.compile(r'^1\.\.0\s*#\s*SKIP\b(.*)$', re.IGNORECASE)
CASE = re.compile(r'^(not )?ok\b[ \d]*(?:- )?(.*?)(?:\s*#\s*(SKIP)\b(.*))?$', re.IGNORECASE)


def main():
    passed = failed = skipped = 0
    suites = collections.Counter()
    with open(sys.argv[1], encoding='utf-8') as log:
        tests = [json.loads(line) for line in log]
    for test in tests:
        bad = 0
        suite = test['name'].partition(' / ')[0].rpartition(':')[2]
        for line in test.get('stdout', '').splitlines():
            case, none = CASE.match(line), NONE.match(line)
            suites[suite] += case is not None
            if case and case.group(3):
                skipped += 1
                print(f'skipped: {test["name"]}: {case.group(2)}{case.group(4)}')
            elif case and case.group(1):
                bad += 1
                print(f'FAILED: {test["name"]}: {case.group(2)}')
            elif case:
                passed += 1
            elif none:
                skipped += 1
                print(f'skipped: {test["name"]}: all of it:{none.group(1)}')
            elif line.startswith('# measured:'):
                print(line[2:])
        if test['result'] not in ('OK', 'SKIP') and bad == 0:
            bad = 1
            print(f'FAILED: {test["name"]}: {test["result"].lower()}, exit status {test.get("returncode")}')
        if bad:
            print('\n'.join((test.get('stdout', '') + test.get('stderr', '')).splitlines()[-25:]))
        failed += bad
    if not tests or (int(sys.argv[2]) != 0 and failed == 0):
        failed += 1
        build = os.path.dirname(os.path.dirname(sys.argv[1]))
        print('FAILED: the run itself; its log is ' + os.path.join(build, 'check.log'))
    print('cases: ' + ', '.join(f'{suite} {count}' for suite, count in sorted(suites.items())))
    print(f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
