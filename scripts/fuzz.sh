#!/usr/bin/env bash
# Mutated input at every open end, valid traffic in between: no crash, no hang, no growth.
#
#   scripts/fuzz.sh [COUNT] [SEED]     a million of each (without COUNT) take about half an hour
#
# zmq: Jupyter messages to a running kernel. relay: byte streams to a running relay. link: byte streams from a hostile sandbox to the kernel's link.
. "$(dirname "$0")/common.sh"
count=${1:-1000000} seed=${2:-1}
"$root/scripts/install-dependencies.sh" tests
find_dotnet || die "the .NET SDK 10 is missing"
python=$(python_with jupyter_client ipykernel zmq) || die "no Python with jupyter_client, ipykernel and pyzmq"
[ -n "${IK_TEST_EXECUTABLE:-}" ] || "$root/scripts/build.sh" >/dev/null
cd "$root/tests/Faults"
"$python" fuzz.py zmq "$count" --seed "$seed"
"$python" fuzz.py relay "$count" --seed "$seed"
cd "$root/tests/Kernel.Tests"
IK_FUZZ=$count IK_FUZZ_SEED=$seed dotnet test -c Release --nologo --verbosity quiet --filter RelayLinkFuzzTests
printf 'link: %s streams, seed %s: no crash, no hang, no growth\n' "$count" "$seed"
