#!/usr/bin/env bash
# Other languages in the sandbox: R (r-cran-irkernel) and Octave (python3-octave-kernel, by metakernel), of Debian 13.
#
#   scripts/languages.sh [PYTEST-ARGUMENT...]
#
# About 2 minutes; the first run makes Debian 13 with both in a directory (scripts/debian13.sh languages), 5 minutes more. Root.
. "$(dirname "$0")/common.sh"
. "$root/scripts/clients.sh"
begin_clients "$@"
IK_TEST_ROOT_FILESYSTEM=$("$root/scripts/debian13.sh" languages)
export IK_TEST_ROOT_FILESYSTEM
run_clients tests/Clients/test_languages.py
