#!/usr/bin/env bash
# Compares sandbox-python with plain ipykernel on this machine, the two in turn, and prints a table.
#
#   bench/run.sh [--quick] [--rows a,b,..] [--json FILE] [--docs] [--strict] [--against serve|URL] [--delay 20ms] [--rate 100M]
#
# --quick      fewer repetitions, less than two minutes
# --rows       only these groups; `--rows help` lists them
# --json       every single measurement into FILE
# --docs       the table into docs/performance.md, between its markers
# --strict     a missed target is exit code 1; without it only a row that could not be measured is
# --against    the sandboxes come over TCP: from `interpreter-kernel serve`, started for this run, or from URL (key in E2B_API_KEY)
# --delay      with --against: so much more delay each way on that TCP connection
# --rate       with --against: so many bits per second each way (10M, 100M)
#
# IK_TEST_EXECUTABLE names another build than out/interpreter-kernel/interpreter-kernel (scripts/build.sh makes it).
. "$(dirname "$0")/../scripts/common.sh"
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"
python=$(python_with zmq ipykernel jupyter_client) || die "no Python with pyzmq, ipykernel and jupyter_client: scripts/install-dependencies.sh tests"
exec "$python" -B "$root/bench/run.py" "$@"
