#!/usr/bin/env bash
# 40 notebooks by 15 nbconvert processes against a limit of 10: all succeed, the limit holds, the order is fair, no time is wasted.
#
#   scripts/parallel.sh [--notebooks 40] [--workers 15] [--limit 10] [--seconds 24]      takes about three minutes
. "$(dirname "$0")/common.sh"
"$root/scripts/install-dependencies.sh" tests
python=$(python_with nbconvert jupyter_client ipykernel zmq) || die "no Python with nbconvert, jupyter_client, ipykernel and pyzmq"
[ -n "${IK_TEST_EXECUTABLE:-}" ] || "$root/scripts/build.sh" >/dev/null
cd "$root/tests/Faults" && exec "$python" parallel.py "$@"
