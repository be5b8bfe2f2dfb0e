#!/usr/bin/env bash
# Starts N sandboxed kernels at once (50 without an argument), runs the quickstart notebook's cells in each of them, and prints
# what we add per kernel in memory, and what all of them together cost while they are idle.
#
#   bench/density.sh [N] [--json FILE] [--strict]
. "$(dirname "$0")/../scripts/common.sh"
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"
python=$(python_with zmq ipykernel jupyter_client) || die "no Python with pyzmq, ipykernel and jupyter_client: scripts/install-dependencies.sh tests"
exec "$python" -B "$root/bench/density.py" "$@"
