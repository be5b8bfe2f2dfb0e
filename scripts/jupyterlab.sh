#!/usr/bin/env bash
# JupyterLab as people use it: a current one (Debian 13's), our kernel in it, and a real browser that clicks and types.
#
#   scripts/jupyterlab.sh [--kernel NAME] [--images DIR] [--only EXPRESSION]
#
# One PASS or FAIL line for each check. NAME is sandbox-python, or python3: the same checks with Debian 13's plain ipykernel.
# DIR gets screenshots of the main states (docs/images has those that the documentation shows).
# From nothing about 7 minutes: Chromium, Debian 13 with JupyterLab in a directory (kept, see scripts/debian13.sh), the build.
. "$(dirname "$0")/common.sh"

kernel=sandbox-python images='' only=''
while [ $# -gt 0 ]; do
    case $1 in
        --kernel) kernel=${2:?a name}; shift 2 ;;
        --images) images=$(realpath -m "${2:?a folder}"); shift 2 ;;
        --only) only=${2:?an expression}; shift 2 ;;
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown: $1; see $0 --help" ;;
    esac
done

. "$root/scripts/clients.sh"
need_browser
need_clients
rootfs=$("$root/scripts/debian13.sh" setup)
# The sandbox's Python is Debian 13's as well, so that the two kernels differ in nothing else.
export IK_TEST_ROOT_FILESYSTEM=$rootfs
export LAB_IMAGES=$images LAB_ONLY=$only
run_clients -q -s tests/Clients/test_jupyterlab.py
