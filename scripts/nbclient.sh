#!/usr/bin/env bash
# Notebooks that run without a person: nbconvert, nbclient and papermill, this machine's (Debian 12's) and Debian 13's.
#
#   scripts/nbclient.sh [--kernel NAME] [PYTEST-ARGUMENT...]
#
# NAME is sandbox-python, or python3: the same tests with plain ipykernel. `--stack debian12` leaves Debian 13 out (no root needed).
# About 3 minutes; the first run makes Debian 13 (scripts/debian13.sh), 3 minutes more.
. "$(dirname "$0")/common.sh"
. "$root/scripts/clients.sh"
begin_clients "$@"
run_clients tests/Clients/test_nbclient.py
