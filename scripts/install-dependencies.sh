#!/usr/bin/env bash
# Installs what InterpreterKernel needs on this machine, and nothing that is there already.
#
#   scripts/install-dependencies.sh          to build and run it (what quickstart.sh needs)
#   scripts/install-dependencies.sh build    to build it, only
#   scripts/install-dependencies.sh tests    ... and what the tests need
#
# Every need is probed by what it does, not by its package, so another distribution passes too once it has them.
. "$(dirname "$0")/common.sh"

missing=()   # Debian packages
reasons=()   # one line for each, for people

need() { # need PACKAGES WHAT PROBE...: notes the packages when the probe fails
    local packages=$1 what=$2; shift 2
    if ! "$@" >/dev/null 2>&1; then
        read -ra packages <<<"$packages"
        missing+=("${packages[@]}")
        reasons+=("$what (Debian: ${packages[*]})")
    fi
}
library() { grep -qF "$1 " <<<"$(ldconfig -p)"; }   # no pipe: grep -q would end ldconfig early, and pipefail call that a failure
command_() { command -v "$1"; }
debian_python() { /usr/bin/python3 -c "import sys, importlib.util as u; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))" "$@"; }
r_with_kernel() { [ -e /usr/lib/R/site-library/IRkernel ] && command_ Rscript; }

probe() {
    missing=() reasons=()
    need libstdc++6 "libstdc++.so.6, without which .NET does not start" library libstdc++.so.6
    need libssl3 "OpenSSL 3: packages come over https" library libssl.so.3
    need ca-certificates "certificates: packages come over https" test -s /etc/ssl/certs/ca-certificates.crt
    need "gcc libc6-dev" "a C linker: the kernel is compiled to native code" c_linker
    if [ "${1:-}" = build ]; then return; fi
    need libzmq5 "libzmq.so.5, the ZeroMQ library" library libzmq.so.5
    need runc "runc, which isolates the sandbox" command_ runc
    need python3-ipykernel "Python with ipykernel: the kernel that runs in the sandbox" debian_python ipykernel zmq
    need python3-matplotlib "Python's matplotlib: the quickstart notebook draws a plot" debian_python matplotlib
    need jupyter-nbconvert "jupyter nbconvert, which runs the quickstart notebook" jupyter_with_nbconvert
    need jupyter-client "jupyter kernelspec" command_ jupyter-kernelspec
    if [ "${1:-}" = tests ]; then
        need python3-pytest "pytest" debian_python pytest
        need python3-nbclient "nbclient" debian_python nbclient
        need python3-jupyter-kernel-test "jupyter_kernel_test, Jupyter's own conformance tests" debian_python jupyter_kernel_test
        need python3-ipywidgets "ipywidgets, for notebooks/widgets.ipynb" debian_python ipywidgets
        need r-cran-irkernel "R with its kernel, for the tests in another language" r_with_kernel
        need procps "ps" command_ ps
        need nodejs "Node.js, for E2B's JavaScript SDKs" command_ node
        need npm "npm, which fetches those SDKs" command_ npm
    fi
}

require_dotnet() { # after the packages, because the SDK itself needs some of them
    find_dotnet || die "the .NET SDK 10 is missing (no 'dotnet' that lists a 10.x SDK on PATH, in \$DOTNET_ROOT or ~/.dotnet).
  Debian has no package of it. Install it with Microsoft's script and try again:
    curl -sSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0"
}

probe "$@"
if [ ${#missing[@]} -eq 0 ]; then
    require_dotnet
    exit 0
fi

say "missing on this machine:"
printf '  - %s\n' "${reasons[@]}" >&2
if ! command -v apt-get >/dev/null; then
    die "no apt-get here. Install the above with this system's package manager, then run this script again."
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=(sudo)
    else
        die "installing them takes root, and there is no usable sudo. Have an administrator run:
    apt-get install --no-install-recommends ${missing[*]}"
    fi
fi
# The lock is waited for: a fresh machine often runs its own first upgrade.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
say "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Mirrors have bad minutes; a package list that is already here will do when it can't be refreshed.
"${apt[@]}" update >"$log" 2>&1 </dev/null || { tail -n 5 "$log" >&2; say "apt-get update failed; trying with the lists that are here"; }
if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "apt-get could not install: ${missing[*]} (its last lines are above)"
fi

hash -r
probe "$@"
if [ ${#missing[@]} -ne 0 ]; then
    printf '  - %s\n' "${reasons[@]}" >&2
    die "still missing after the installation: see above. Please report this with the output of 'cat /etc/os-release'."
fi
require_dotnet
say "all dependencies are installed"
