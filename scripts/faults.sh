#!/usr/bin/env bash
# Plays seeded schedules of faults between a kernel and its sandbox, and checks every output.
#
#   scripts/faults.sh COUNT [--first SEED] [--longest SECONDS]      500 take about half an hour
. "$(dirname "$0")/common.sh"
"$root/scripts/install-dependencies.sh" tests
python=$(python_with jupyter_client ipykernel zmq) || die "no Python with jupyter_client, ipykernel and pyzmq"
[ -n "${IK_TEST_EXECUTABLE:-}" ] || "$root/scripts/build.sh" >/dev/null
cd "$root/tests/Faults" && exec "$python" run.py "$@"
