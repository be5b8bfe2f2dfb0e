# What the scripts that try clients share; sourced after common.sh, never run.

results=${IK_TEST_RESULTS:-$root/out/clients}

apt_install() { # apt_install PACKAGE...
    [ "$(id -u)" = 0 ] || die "these are missing, and installing them takes root: $*"
    command -v apt-get >/dev/null || die "these are missing, and there is no apt-get here: $*"
    say "installing: $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --no-install-recommends)
    # Lists that are too old name packages that are gone: then once more with new ones.
    "${apt[@]}" install "$@" >&2 </dev/null || { "${apt[@]}" update >&2 </dev/null && "${apt[@]}" install "$@" >&2 </dev/null; }
}

need_browser() {
    local missing=()
    command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
    # Playwright alone; its own browsers are not fetched.
    (cd "$root/tests/Clients" && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --silent; })
}

need_clients() { # what the outer tests need, and the executable
    "$root/scripts/install-dependencies.sh" tests
    python=$(python_with pytest jupyter_client ipykernel zmq) || die "no Python with pytest, jupyter_client, ipykernel and pyzmq"
    "$root/scripts/build.sh" >/dev/null
}

given=()
run_clients() { # run_clients PYTEST-ARGUMENT...: with the kernel $kernel, and what the script's user gave for pytest
    cd "$root"
    IK_TEST_KERNEL=$kernel IK_TEST_RESULTS=$results "$python" -m pytest -v -p no:cacheprovider "$@" "${given[@]}" </dev/null
}

begin_clients() { # begin_clients SCRIPT-ARGUMENT...: --kernel NAME and --help; the rest is kept for pytest
    kernel=sandbox-python given=()
    while [ $# -gt 0 ]; do
        case $1 in
            --kernel) kernel=${2:?a name}; shift 2 ;;
            -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            *) given+=("$1"); shift ;;
        esac
    done
    need_clients
}
