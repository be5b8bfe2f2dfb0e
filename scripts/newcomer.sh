#!/usr/bin/env bash
# A newcomer's walk, timed: a machine with Debian 13, JupyterLab and the .NET SDK, and nothing of ours. There the README's first command is given,
# JupyterLab is started, and a cell is run in a notebook with the kernel "Python (sandbox)".
#
#   scripts/newcomer.sh [FOLDER]
#
# The machine is a root file system in FOLDER (/tmp/interpreter-kernel-newcomer), made anew each time (1 to 2 minutes, which do not count). Root.
. "$(dirname "$0")/common.sh"
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
folder=${1:-/tmp/interpreter-kernel-newcomer}
find_dotnet || die "the .NET SDK 10 is missing; scripts/install-dependencies.sh says how to get it"

# 1. The machine. Its packages come the way this one's do.
[ ! -e "$folder" ] || IK_CLIENTS_CACHE=$folder "$root/scripts/debian13.sh" clean
machine=$(IK_CLIENTS_CACHE=$folder "$root/scripts/debian13.sh" setup)
mkdir -p "$machine/sdk" "$machine/root/.nuget" "$machine/old"
ln -sf /sdk/dotnet "$machine/usr/local/bin/dotnet"
for settings in /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates /etc/ssl/certs "$HOME/.nuget/NuGet"; do
    to=$machine${settings/#"$HOME"//root}
    [ ! -e "$settings" ] || { rm -rf "$to"; cp -aL "$settings" "$to"; }
done
rm "$machine/usr/sbin/policy-rc.d" "$machine/usr/local/bin/host-exec"
git clone -q "$root" "$machine/root/InterpreterKernel"
cp "$root/tests/Clients/newcomer.py" "$machine/root/"

# 2. The walk, in namespaces that end with it.
export MACHINE=$machine SDK=$DOTNET_ROOT
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount --propagation private --pid --fork --kill-child bash -ec '
    mount --bind "$MACHINE" "$MACHINE"
    mount --bind "$SDK" "$MACHINE/sdk"
    mount -t proc proc "$MACHINE/proc"
    mount --rbind /dev "$MACHINE/dev"
    mount --rbind /sys "$MACHINE/sys"
    mount -t tmpfs -o mode=755 tmpfs "$MACHINE/run"
    cd "$MACHINE"
    pivot_root . old
    umount -l /old
    cd /root
    exec /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 ${NUGET_CERT_REVOCATION_MODE:+NUGET_CERT_REVOCATION_MODE=$NUGET_CERT_REVOCATION_MODE} \
        /usr/bin/python3 /root/newcomer.py'
