#!/usr/bin/env bash
# A current Jupyter beside this machine's own: Debian 13 in a directory, with JupyterLab 4, ipykernel, ipywidgets, nbclient,
# papermill, the kernels of other languages, and nothing of the machine's. Root, and a Debian or Ubuntu with apt.
#
#   scripts/debian13.sh [setup]       makes it, once (2 to 5 minutes; what is there already is kept) and prints where it is
#   scripts/debian13.sh languages     the same with the kernels of R and Octave (2 minutes more)
#   scripts/debian13.sh exec CMD...   runs a command in it, in the current folder, with the caller's environment
#   scripts/debian13.sh clean         removes it
#
# IK_CLIENTS_CACHE is where it is kept: /var/cache/interpreter-kernel-clients. The repository and /tmp are seen in it at their own
# paths. Its mounts are in a mount namespace of the command, so nothing stays mounted, in whatever way that ends. `host-exec CMD...`
# in it runs a command back in the root of whoever called this script, in the same process: that is how its Jupyter starts our kernel, which needs
# this machine's .NET and runc.
. "$(dirname "$0")/common.sh"
cache=${IK_CLIENTS_CACHE:-/var/cache/interpreter-kernel-clients}
suite=trixie
top=$cache/$suite
packages=(ipykernel ipywidgets matplotlib pandas papermill nbclient debugpy pexpect pytest)
packages=("${packages[@]/#/python3-}" jupyter-client jupyter-console jupyter-nbconvert)
apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --no-install-recommends)
export DEBIAN_FRONTEND=noninteractive

inside() { # inside CMD...: becomes the command in that root
    export IK_HOST_PROCESS=$PPID IK_TOP=$top IK_ROOT=$root IK_PWD=$PWD
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount bash -ec '
        mount --rbind /dev "$IK_TOP/dev"
        mount -t proc proc "$IK_TOP/proc"
        mount --rbind /sys "$IK_TOP/sys"
        for shared in /tmp "$IK_ROOT"; do
            mkdir -p "$IK_TOP$shared"
            mount --bind "$shared" "$IK_TOP$shared"
        done
        [ -d "$IK_TOP$IK_PWD" ] || IK_PWD=/
        exec chroot "$IK_TOP" /usr/bin/env -u IK_TOP -u IK_ROOT -u IK_PWD -C "$IK_PWD" PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 "$@"' \
        inside "$@"
}
within() { (inside "$@"); }

base() {
    local mirror script=/usr/share/debootstrap/scripts/$suite
    mirror=${IK_CLIENTS_MIRROR:-$(apt-get indextargets --format '$(LABEL)|$(CODENAME)|$(REPO_URI)' | awk -F'|' '$1 == "Debian" && $2 !~ /-/ && !n++ { print $3 }')}
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    rm -rf --one-file-system "$top"
    mkdir -p "$top"
    unshare --mount debootstrap --variant=minbase "$suite" "$top" "${mirror:-https://deb.debian.org/debian}" "$script"
    # Quick unpacking, no manuals, no services, and the machine's own settings for reaching packages.
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' >"$top/etc/dpkg/dpkg.cfg.d/quick"
    { apt-config dump | grep -E '^Acquire::(Check-|http|https|Retries)' || true; echo 'Acquire::Languages "none";'; } >"$top/etc/apt/apt.conf.d/99quick"
    printf '#!/bin/sh\nexit 101\n' >"$top/usr/sbin/policy-rc.d"
    chmod 755 "$top/usr/sbin/policy-rc.d"
    # Python compiles a module when it is first imported; compiling all of them now takes half a minute.
    within dpkg-divert --local --rename --divert /usr/bin/py3compile.real --add /usr/bin/py3compile
    printf '#!/bin/sh\nexit 0\n' >"$top/usr/bin/py3compile"
    chmod 755 "$top/usr/bin/py3compile"
}

stack() {
    within apt-get -q update
    # JupyterLab's pages are built already; its 600 node-* dependencies are for rebuilding them. So it is unpacked without them,
    # and what it needs of Python is read from its own Depends.
    local needs
    needs=$(within apt-cache show jupyterlab | awk '/^Depends: / && !n++' | cut -d' ' -f2- | tr ',' '\n' |
        awk '$1 ~ /^python3-/ && $1 !~ /supported-min/ { sub(/:.*/, "", $1); print $1 }')
    # shellcheck disable=SC2086 # words
    within "${apt[@]}" install $needs "${packages[@]}"
    within sh -ec 'cd "$(mktemp -d)"; apt-get -q -o APT::Sandbox::User=root download jupyterlab
        dpkg-deb --fsys-tarfile jupyterlab_*.deb | tar -x -C / --exclude=./usr/share/nodejs --exclude=./usr/share/doc; rm jupyterlab_*.deb; apt-get clean'
    mkdir -p "$top/usr/share/jupyter/lab/settings" "$top/usr/local/bin"
    # No question about news, no look for updates.
    echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}}' \
        >"$top/usr/share/jupyter/lab/settings/overrides.json"
    cat >"$top/usr/local/bin/host-exec" <<'SCRIPT'
#!/bin/sh
# Runs a command in the mount namespace of the process that entered this root; same process id, so signals and parents stay right.
exec nsenter --mount="/proc/$IK_HOST_PROCESS/ns/mnt" --root="/proc/$IK_HOST_PROCESS/root" --wd="/proc/$IK_HOST_PROCESS/root$PWD" -- "$@"
SCRIPT
    chmod 755 "$top/usr/local/bin/host-exec"
    # The first start compiles what it imports: done here, off the clock of a test.
    within jupyter lab --version
    within python3 -c 'import ipykernel_launcher, ipykernel.kernelapp, ipywidgets, matplotlib.pyplot, pandas, papermill, nbconvert.exporters, debugpy'
}

languages() { within "${apt[@]}" install r-cran-irkernel r-cran-jsonlite python3-octave-kernel octave; }

step() { # step WHAT FUNCTION: once, its output in a file; a subshell of its own, so that -e holds in it
    local what=$1 since=$SECONDS log=$cache/${2}.log status=0
    [ ! -e "$top/.$2-done" ] || return 0
    say "$what …"
    set +e
    (set -e; "$2") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    [ $status = 0 ] || { tail -n 20 "$log" >&2; die "$what failed; all of it is in $log"; }
    touch "$top/.$2-done"
    say "  $((SECONDS - since)) s"
}

setup() {
    [ "$(id -u)" = 0 ] || die "debootstrap and chroot take root: run it as root"
    command -v apt-get >/dev/null || die "no apt-get here: this needs a Debian or Ubuntu"
    command -v debootstrap >/dev/null || { apt-get -q update && "${apt[@]}" install debootstrap; } >&2
    mkdir -p "$cache"
    exec 8>"$cache/lock"
    flock 8 # one at a time; the others find it made
    step "Debian 13 in $top" base
    step "Jupyter in it" stack
    [ $# = 0 ] || step "R and Octave in it" "$1"
    exec 8>&-
    printf '%s\n' "$top"
}

case ${1:-setup} in
    setup) setup ;;
    languages) setup languages ;;
    exec) shift; [ -e "$top/.stack-done" ] || die "nothing in $top yet: scripts/debian13.sh setup"; inside "$@" ;;
    clean) ! grep -q " $top/" /proc/self/mounts || die "something is mounted under $top"; rm -rf --one-file-system "$cache" ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" ;;
    *) die "unknown: $1 (setup, languages, exec, clean)" ;;
esac
