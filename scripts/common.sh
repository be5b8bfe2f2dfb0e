# Shared by the scripts in this folder; sourced, never run.
# It gives $root, say, die and the functions below; find_dotnet sets $dotnet.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# A Python that has all the modules given. The first one on PATH is often a pyenv or conda one without Jupyter,
# so Debian's is asked as well.
python_with() {
    local candidate probe="import sys, importlib.util as u; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))"
    for candidate in python3 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$probe" "$@" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# A `jupyter` whose nbconvert works: the one on PATH, else Debian's. Looked at through the Python of its first line,
# because starting `jupyter nbconvert --version` takes a second.
jupyter_with_nbconvert() {
    local candidate file interpreter
    for candidate in jupyter /usr/bin/jupyter; do
        file=$(command -v "$candidate") || continue
        interpreter=$(sed -n '1s/^#! *//p;q' "$file" 2>/dev/null | cut -d' ' -f1)
        if [ -x "$interpreter" ] && "$interpreter" -c 'import jupyter_core, nbconvert' 2>/dev/null; then
            printf '%s\n' "$file"
            return
        fi
    done
    return 1
}

# A Node.js that E2B's SDKs run on: 20.18.1 or newer, as they ask for. Debian 12 has 18; with such a one its npm fetches a
# newer binary from the registry where the SDKs come from, into out/.
node_version_for_sdks=22.23.3
node_for_sdks() {
    local architecture fetched="$root/out/node"
    if node -e 'const [a, b, c] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && (b > 18 || (b == 18 && c >= 1))) ? 0 : 1)' 2>/dev/null; then
        command -v node
        return
    fi
    case $(uname -m) in x86_64) architecture=x64 ;; aarch64) architecture=arm64 ;; *) return 1 ;; esac
    local binary=$fetched/node_modules/node-linux-$architecture/bin/node
    if [ ! -x "$binary" ] || [ "$("$binary" --version)" != "v$node_version_for_sdks" ]; then
        say "fetching Node.js $node_version_for_sdks, because this machine's is too old for E2B's SDKs"
        npm install --prefix "$fetched" --no-save --no-audit --no-fund --silent "node-linux-$architecture@$node_version_for_sdks" >&2 || return 1
    fi
    printf '%s\n' "$binary"
}

# The .NET SDK 10. One that is not in the default place must be told to the programs it built, by DOTNET_ROOT.
find_dotnet() {
    local candidate
    for candidate in dotnet "${DOTNET_ROOT:-}/dotnet" "$HOME/.dotnet/dotnet" /usr/share/dotnet/dotnet /usr/lib/dotnet/dotnet; do
        if command -v "$candidate" >/dev/null && grep -q '^10\.' <<<"$("$candidate" --list-sdks 2>/dev/null)"; then
            dotnet=$(command -v "$candidate")
            DOTNET_ROOT=$(dirname "$(readlink -f "$dotnet")")
            export DOTNET_ROOT
            return
        fi
    done
    return 1
}

# Whether a program can be linked, as native code has to be: a compiler, its linker and the C library's startup files.
c_linker() {
    local compiler
    for compiler in clang gcc; do
        if command -v "$compiler" >/dev/null; then
            "$compiler" -x c -o /dev/null - <<<'int main(void) { return 0; }' 2>/dev/null
            return
        fi
    done
    return 1
}

export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
# A machine with the SDK and nothing else has no libicu; without this the SDK itself refuses to start there.
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
# Build servers would outlive the script.
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
# Debian keeps runc and ldconfig where an ordinary user's PATH does not look.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
