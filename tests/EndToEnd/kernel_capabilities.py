"""Jupyter's own conformance tests for the kernel named in the first argument; prints what each of them gave as JSON.

A program of its own, so that they run in the environment they expect and can't stop the tests around them.
"""

import json
import sys
import unittest

import jupyter_kernel_test


class Capabilities(jupyter_kernel_test.KernelTests):
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}, {"text": "pri"}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise RuntimeError('on purpose')"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "'a' * 3", "result": "'aaa'"},
    ]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class Failures(unittest.TextTestResult):
    """Notes for each test what failed in it: itself, or some of its sub-tests by their parameters."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.by_test = {}

    def startTest(self, test):
        super().startTest(test)
        self.by_test[test.id().rpartition(".")[2]] = []

    def stopTest(self, test):
        failed = [t for t, _ in self.failures + self.errors + self.skipped if getattr(t, "test_case", t) is test]
        self.by_test[test.id().rpartition(".")[2]] = sorted(getattr(t, "_subDescription", lambda: "all of it")() for t in failed)
        super().stopTest(test)


if __name__ == "__main__":
    Capabilities.kernel_name = sys.argv[1]
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Capabilities)
    result = unittest.TextTestRunner(stream=sys.stderr, resultclass=Failures, verbosity=2).run(suite)
    print(json.dumps({"failed": result.by_test, "details": [text for _, text in result.failures + result.errors]}))
