#!/usr/bin/env bash
# Makes what people install, in out/packages/: the version is the one in Directory.Build.props.
#
#   scripts/package.sh [PLATFORM...]     linux-x64 linux-arm64 osx-arm64 win-x64; all of them without any
#
#   interpreter-kernel-VERSION-PLATFORM.tar.gz   needs no .NET: unpack and run (a .zip for win-x64). Native code for this machine's own platform
#   interpreter-kernel.VERSION.nupkg             dotnet tool install --global --add-source out/packages interpreter-kernel
#   InterpreterKernel.Sandbox.VERSION.nupkg      the client library, with InterpreterKernel.Protocol, which it needs
#   RELEASE_NOTES.md                             of this version, from CHANGELOG.md
#   SHA256SUMS
#
# The archive of this machine's own platform is tried out: unpacked into an empty folder, its doctor and a cell are run. Platforms whose parts
# the package source does not have are named at the end, and are no failure; anything else that goes wrong is one.
. "$(dirname "$0")/common.sh"
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"

version=$(sed -n 's:.*<Version>\(.*\)</Version>.*:\1:p' "$root/Directory.Build.props")
[ -n "$version" ] || die "no <Version> in Directory.Build.props"
platforms=("$@")
[ ${#platforms[@]} -gt 0 ] || platforms=(linux-x64 linux-arm64 osx-arm64 win-x64)
packages=$root/out/packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$packages"
mkdir -p "$packages"
built=() unavailable=()

# What CHANGELOG.md says of this version, up to the next one.
notes() { awk -v version="[$version]" '/^## /{ on = index($0, version) } on' "$root/CHANGELOG.md"; }
notes >"$packages/RELEASE_NOTES.md"
[ -s "$packages/RELEASE_NOTES.md" ] || die "CHANGELOG.md has no section for $version"

say "== dotnet tool and library, $version"
# Library packages carry their README, licence and XML docs (src/Sandbox).
for project in src/Kernel src/Sandbox src/Protocol; do
    "$dotnet" pack "$root/$project" --configuration Release --output "$packages" --verbosity quiet --nologo </dev/null >&2
done

archive() { # archive PLATFORM
    local platform=$1 name=interpreter-kernel-$version-$1 log=$work/log
    # Native code for this machine's own platform, which alone has a linker here; for others compiled ahead of its start where the compiler
    # for that platform can be had.
    local form forms=(PublishReadyToRun=true PublishReadyToRun=false)
    if [ "$platform" = "$own" ] && c_linker; then forms=(PublishAot=true); fi
    for form in "${forms[@]}"; do
        rm -rf "${work:?}/$name"
        if "$dotnet" publish "$root/src/Kernel" --configuration Release --runtime "$platform" --self-contained true \
            "-p:$form" --output "$work/$name" --verbosity quiet --nologo </dev/null >"$log" 2>&1; then
            break
        fi
        # Not there: NU1101, NU1102, NU1103 (packages), NETSDK1094 and the like (compiler).
        if ! grep -qE 'NU110[123]|NETSDK1(082|094|112|127)' "$log"; then
            tail -n 20 "$log" >&2
            die "the archive for $platform could not be built (its last lines are above)"
        fi
        if [ "$form" = "${forms[-1]}" ]; then
            unavailable+=("$platform: $(grep -oE '(NU110[123]|NETSDK1[0-9]+): [^[]*' "$log" | head -n 1)")
            return
        fi
    done
    cp "$root/README.md" "$root/LICENSE" "$root/CHANGELOG.md" "$work/$name/"
    rm -f "$work/$name"/*.pdb "$work/$name"/*.xml "$work/$name"/*.dbg
    if [ "$platform" = win-x64 ]; then
        (cd "$work" && /usr/bin/python3 -m zipfile -c "$packages/$name.zip" "$name")
        built+=("$name.zip")
    else
        tar -C "$work" --owner=0 --group=0 --sort=name -czf "$packages/$name.tar.gz" "$name"
        built+=("$name.tar.gz")
    fi
    [ "$form" != PublishReadyToRun=false ] || say "note: $platform was built without ReadyToRun, which starts slower: its compiler could not be had"
}

try_out() { # try_out ARCHIVE: as somebody who has nothing else of ours
    local place=$work/tried python name
    mkdir -p "$place/home" "$place/runtime" "$place/data"
    tar -C "$place" -xzf "$packages/$1"
    name=$(basename "$1" .tar.gz)
    python=$(python_with jupyter_client ipykernel zmq nbclient nbformat) || die "no Python with jupyter_client, ipykernel, nbclient to try $1 out with"
    local clean=(env -u DOTNET_ROOT HOME="$place/home" XDG_CONFIG_HOME="$place/home" XDG_CACHE_HOME="$place/home" JUPYTER_DATA_DIR="$place/data"
        JUPYTER_RUNTIME_DIR="$place/runtime" INTERPRETER_KERNEL_RUNTIME_DIR="$place/runtime")
    # Behind the version there may be the commit that it was built from.
    [[ "$("${clean[@]}" "$place/$name/interpreter-kernel" --version)" =~ ^"$version"(\+|$) ]] || die "the program in $1 does not say $version"
    "${clean[@]}" "$place/$name/interpreter-kernel" doctor >&2 || die "doctor of $1 finds something missing"
    "${clean[@]}" "$place/$name/interpreter-kernel" install >/dev/null 2>&1
    "${clean[@]}" "$python" - <<'PYTHON' || die "a cell did not run with $1"
import nbformat
from nbclient import NotebookClient

book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import socket; socket.gethostname()")])
NotebookClient(book, kernel_name="sandbox-python", timeout=60, startup_timeout=60).execute()
result = book.cells[0].outputs[-1]["data"]["text/plain"]
assert result == "'sandbox'", result
PYTHON
    # The broker that it started is the only process with this runtime directory.
    local broker
    broker=$("${clean[@]}" "$place/$name/interpreter-kernel" status --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | tail -n 1)
    if [ -n "$broker" ] && [ "$broker" -gt 1 ] && grep -qF "$place" "/proc/$broker/environ"; then
        kill "$broker"
        for _ in $(seq 100); do [ -d "/proc/$broker" ] || break; sleep 0.1; done
    fi
    say "tried out: $1 (doctor, a cell)"
}

case $(uname -s)-$(uname -m) in Linux-x86_64) own=linux-x64 ;; Linux-aarch64) own=linux-arm64 ;; *) own=none ;; esac
for platform in "${platforms[@]}"; do
    say "== $platform"
    archive "$platform"
done
if [ -f "$packages/interpreter-kernel-$version-$own.tar.gz" ]; then try_out "interpreter-kernel-$version-$own.tar.gz"; fi

(cd "$packages" && sha256sum ./*.nupkg ./*.tar.gz ./*.zip 2>/dev/null >SHA256SUMS || true)
say ""
for line in "${unavailable[@]}"; do say "NOT BUILT: $line"; done
ls "$packages"
