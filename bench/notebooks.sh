#!/usr/bin/env bash
# Executes 20 notebooks of 3 cells one after another with nbconvert, sandboxed and plain in turn, and compares the wall times.
#
#   bench/notebooks.sh [--count 20] [--json FILE] [--strict]
. "$(dirname "$0")/../scripts/common.sh"
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"
python=$(python_with zmq ipykernel jupyter_client nbconvert) || die "no Python with ipykernel and nbconvert: scripts/install-dependencies.sh"
exec "$python" -B "$root/bench/notebooks.py" "$@"
