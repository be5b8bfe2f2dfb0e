#!/usr/bin/env bash
# Prints a table of every way out of a kernel, with the time until the sandbox service counts its sandbox no more.
#
#   scripts/leaks.sh [--runs 20] [WAY...]      takes about ten minutes
. "$(dirname "$0")/common.sh"
"$root/scripts/install-dependencies.sh" tests
python=$(python_with jupyter_client ipykernel zmq) || die "no Python with jupyter_client, ipykernel and pyzmq"
[ -n "${IK_TEST_EXECUTABLE:-}" ] || "$root/scripts/build.sh" >/dev/null
cd "$root/tests/Faults" && exec "$python" leaks.py "$@"
