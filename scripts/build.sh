#!/usr/bin/env bash
# Builds the executable, compiled ahead of its start (ReadyToRun), into out/interpreter-kernel/. What is up to date is left alone.
. "$(dirname "$0")/common.sh"
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"

case $(uname -s)-$(uname -m) in
    Linux-x86_64) rid=linux-x64 ;;
    Linux-aarch64) rid=linux-arm64 ;;
    *) die "no build for $(uname -s) on $(uname -m) yet: Linux on x86_64 or aarch64 is needed" ;;
esac
if [ "$rid" = linux-x64 ] && ldd --version 2>&1 | grep -qi musl; then rid=linux-musl-x64; fi

"$dotnet" publish "$root/src/Kernel" --configuration Release --runtime "$rid" --self-contained false \
    -p:PublishReadyToRun=true --output "$root/out/interpreter-kernel" --verbosity quiet --nologo </dev/null >&2
printf '%s\n' "$root/out/interpreter-kernel/interpreter-kernel"
