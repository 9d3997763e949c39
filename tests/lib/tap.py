# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the unittest cases of a file and says how each ended as TAP lines, so
that one runner reads C and Python suites alike.

    python3 tests/lib/tap.py FILE [NAME ...]

NAMEs choose cases ("Class" or "Class.test_name")."""

import importlib.util
import pathlib
import sys
import time
import unittest


class TapResult(unittest.TestResult):
    """A result that prints each outcome as it comes."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def say(self, verdict, test, note=""):
        self.count += 1
        name = test.id().split(".", 1)[-1]
        took = time.monotonic() - self.began
        print(f"{verdict} {self.count} - {name} ({took:.1f} s){note}", flush=True)

    def explain(self, err, test):
        for line in self._exc_info_to_string(err, test).splitlines():
            print(f"# {line}", flush=True)

    def addSuccess(self, test):
        self.say("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say("not ok", test)
        self.explain(err, test)

    def addError(self, test, err):
        super().addError(test, err)
        self.say("not ok", test)
        self.explain(err, test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.say("not ok", subtest)
            self.explain(err, subtest)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say("ok", test, f" # SKIP {reason}")


def load(path, names):
    """The cases of the file at `path`, all or those named."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    loader = unittest.defaultTestLoader
    if names:
        return loader.loadTestsFromNames(names, module)
    return loader.loadTestsFromModule(module)


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    suite = load(path, sys.argv[2:])
    result = TapResult()
    suite.run(result)
    print(f"1..{result.count}")
    sys.exit(0 if result.wasSuccessful() and result.count else 1)


if __name__ == "__main__":
    main()
