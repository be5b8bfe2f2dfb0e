#!/usr/bin/env bash
# Runs every test and ends with one line: "N passed, N failed".
#
#   scripts/test.sh [--quick] [--ci] [--list] [SUITE...]
#
# --quick leaves out what takes more than some seconds (pytest's mark `slow`, xunit's trait Category=Slow).
# --ci is what .ci/run says: of the outer tests (EndToEnd, Faults) those that are not `slow`.
# SUITE is one of: format, build, the name of a tests/*.Tests project without its ending (Protocol, Sandbox, ...),
# Relay, EndToEnd, Faults (what breaks between kernel and sandbox), Clients (what editors do, replayed), Sdk (E2B's JavaScript SDKs
# against `serve`). Without one, all of them run. What the tests need is installed first.
. "$(dirname "$0")/common.sh"

quick=0 ci=0 list=0 chosen=()
for argument in "$@"; do
    case $argument in
        --quick) quick=1 ;;
        --ci) ci=1 ;;
        --list) list=1 ;;
        -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) die "unknown option $argument; see $0 --help" ;;
        *) chosen+=("$argument") ;;
    esac
done

suites=(format build)
for project in "$root"/tests/*.Tests/*.csproj; do
    name=$(basename "$(dirname "$project")")
    suites+=("${name%.Tests}")
done
for folder in Relay EndToEnd Faults; do
    if compgen -G "$root/tests/$folder/test_*.py" >/dev/null; then suites+=("$folder"); fi
done
suites+=(Clients Sdk)
if [ $list = 1 ]; then printf '%s\n' "${suites[@]}"; exit 0; fi
for name in "${chosen[@]}"; do
    [[ " ${suites[*]} " == *" $name "* ]] || die "no suite '$name'; there are: ${suites[*]}"
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${suites[@]}")
wants() { [[ " ${chosen[*]} " == *" $1 "* ]]; }

passed=0 failed=0 rows=() complete=0
closing() { # the last line, whatever happened; a run that could not go on is a failure
    [ $complete = 1 ] || failed=$((failed + 1))
    printf '\n' >&2
    [ ${#rows[@]} -eq 0 ] || printf '%s\n' "${rows[@]}" >&2
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || exit 1
}
trap closing EXIT

"$root/scripts/install-dependencies.sh" tests
find_dotnet
python=$(python_with pytest jupyter_client ipykernel zmq) || die "no Python with pytest, jupyter_client, ipykernel and pyzmq"

results=$root/out/test-results
mkdir -p "$results"

record() { # record NAME PASSED FAILED SKIPPED SECONDS
    passed=$((passed + $2)) failed=$((failed + $3))
    rows+=("$(printf '%-12s %6d passed %6d failed %6d skipped %6d s' "$@")")
}

# The counts of a report (trx, junit xml or tap) as "passed failed skipped". A run that broke before it could report, or
# that ended badly although no test failed (a crash, a hang guard, no test found), counts as one failure more.
counts() { # counts REPORT EXIT-CODE
    /usr/bin/python3 - "$@" <<'PYTHON'
import re
import sys
import xml.etree.ElementTree as tree

report, exit_code = sys.argv[1], int(sys.argv[2])
total = failed = skipped = 0
try:
    if report.endswith(".tap"):  # node's; it closes with lines such as "# fail 0"
        with open(report, encoding="utf-8") as lines:
            found = dict(line[2:].split() for line in lines if re.fullmatch(r"# [a-z]+ \d+\n", line))
        passed, skipped = int(found["pass"]), int(found["skipped"]) + int(found["todo"])
        failed = int(found["fail"]) + int(found["cancelled"])
        counters = top = None
    else:
        top = tree.parse(report).getroot()
        counters = top.find(".//{*}ResultSummary/{*}Counters")
    if counters is not None:  # trx
        total, passed = int(counters.get("total")), int(counters.get("passed"))
        skipped = total - int(counters.get("executed"))
        failed = total - passed - skipped
    elif top is not None:  # junit; an error in set-up or tear-down is listed beside its test
        for suite in top.iter("testsuite"):
            total += int(suite.get("tests"))
            skipped += int(suite.get("skipped"))
            failed += int(suite.get("failures")) + int(suite.get("errors"))
        passed = max(0, total - failed - skipped)
except (OSError, KeyError, tree.ParseError) as problem:
    print(f"no report: {problem}", file=sys.stderr)
    passed = 0
if failed == 0 and (exit_code != 0 or passed == 0):
    failed = 1
print(passed, failed, skipped)
PYTHON
}

step() { # step NAME COMMAND...: one verdict for the whole command
    local name=$1 since=$SECONDS; shift
    wants "$name" || return 0
    say "== $name"
    if "$@" </dev/null; then record "$name" 1 0 0 $((SECONDS - since)); else record "$name" 0 1 0 $((SECONDS - since)); fi
}

suite() { # suite NAME REPORT COMMAND...: counts from the report that the command writes
    local name=$1 report=$2 since=$SECONDS status=0 numbers; shift 2
    wants "$name" || return 0
    say "== $name"
    rm -f "$report"
    "$@" </dev/null || status=$?
    numbers=$(counts "$report" "$status")
    # shellcheck disable=SC2086 # three numbers
    record "$name" $numbers $((SECONDS - since))
}

cd "$root"
# Warnings are errors by Directory.Build.props, for every way of building; this says it once more where it counts.
build() { "$dotnet" build InterpreterKernel.sln --configuration Release --nologo --verbosity quiet -warnaserror; }
# The programs that the outer tests and E2B's SDKs start are the published ones, as a user has them.
publish() { "$root/scripts/build.sh" >/dev/null; }

install_sdks() { # what the lock file names, once; npm leaves a file of its own behind that says when
    cd "$root/tests/Sdk"
    [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --silent
}

step format "$dotnet" format InterpreterKernel.sln --verify-no-changes --verbosity quiet
step build build
for project in tests/*.Tests/*.csproj; do
    name=$(basename "$(dirname "$project")")
    filter=()
    if [ $quick = 1 ]; then filter=(--filter "Category!=Slow"); fi
    unbuilt=(--no-build)
    wants build || unbuilt=()
    # It compares our client with E2B's.
    if [ "$name" = Service.Tests ] && wants Service; then (install_sdks) || say "E2B's SDKs could not be installed"; fi
    suite "${name%.Tests}" "$results/$name.trx" \
        "$dotnet" test "$project" --configuration Release "${unbuilt[@]}" --nologo --verbosity quiet "${filter[@]}" \
        --blame-hang-timeout 3m --logger "trx;LogFileName=$name.trx" --results-directory "$results"
done
published=
publish_once() { [ -n "$published" ] || { publish && published=1; }; }
for name in Relay EndToEnd Faults; do
    [[ " ${suites[*]} " == *" $name "* ]] && wants "$name" || continue
    if [ $name != Relay ] && ! publish_once; then
        record $name 0 1 0 0
        continue
    fi
    filter=()
    if [ $quick = 1 ] || { [ $ci = 1 ] && [ $name != Relay ]; }; then filter=(-m "not slow"); fi
    suite $name "$results/$name.xml" \
        "$python" -m pytest "tests/$name" -q -p no:cacheprovider --durations=5 "${filter[@]}" --junitxml="$results/$name.xml"
done

# Of tests/Clients what needs nothing but what is installed by now: the editors' behaviour, replayed. The others have scripts of their own.
if wants Clients; then
    if publish_once; then
        suite Clients "$results/Clients.xml" \
            "$python" -m pytest tests/Clients/test_vscode.py tests/Clients/test_polyglot.py -q -p no:cacheprovider --durations=5 --junitxml="$results/Clients.xml"
    else
        record Clients 0 1 0 0
    fi
fi

sdk_tests() { # the report is for us, the rest for people
    local node
    node=$(node_for_sdks) || return 1
    install_sdks || return 1
    # Two reporters, because the one that a machine can read is none for people.
    "$node" --test --test-timeout=300000 --test-reporter=spec --test-reporter-destination=stderr \
        --test-reporter=tap --test-reporter-destination="$results/Sdk.tap" ./*.test.mjs
}
if wants Sdk; then
    if publish_once; then
        cd "$root/tests/Sdk"
        suite Sdk "$results/Sdk.tap" sdk_tests
        cd "$root"
    else
        record Sdk 0 1 0 0
    fi
fi

complete=1
