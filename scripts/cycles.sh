#!/usr/bin/env bash
# Many short lives of sandboxes, ended in every way there is, random kills among them: at the end memory, descriptors,
# threads, mounts, cgroups, disk and processes must be where they were.
#
#   scripts/cycles.sh [COUNT] [--workers 4]      2000 (without COUNT) take about five minutes
. "$(dirname "$0")/common.sh"
"$root/scripts/install-dependencies.sh" tests
python=$(python_with jupyter_client ipykernel zmq) || die "no Python with jupyter_client, ipykernel and pyzmq"
[ -n "${IK_TEST_EXECUTABLE:-}" ] || "$root/scripts/build.sh" >/dev/null
cd "$root/tests/Faults" && exec "$python" cycles.py "$@"
