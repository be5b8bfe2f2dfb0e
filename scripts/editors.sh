#!/usr/bin/env bash
# What VS Code and Polyglot Notebooks do with a kernel, replayed message by message; and `jupyter console`, alone and with --existing.
#
#   scripts/editors.sh [--kernel NAME] [PYTEST-ARGUMENT...]
#
# NAME is sandbox-python, or python3: the same tests with plain ipykernel. About 2 minutes. Needs nothing but what the tests need.
. "$(dirname "$0")/common.sh"
. "$root/scripts/clients.sh"
/usr/bin/python3 -c 'import pexpect, jupyter_console' 2>/dev/null || apt_install python3-pexpect jupyter-console
begin_clients "$@"
run_clients tests/Clients/test_vscode.py tests/Clients/test_polyglot.py tests/Clients/test_console.py
