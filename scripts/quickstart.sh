#!/usr/bin/env bash
# From a fresh Debian machine with the .NET SDK to an executed notebook whose cells ran in a sandbox. Safe to repeat.
. "$(dirname "$0")/common.sh"

say "1/5 looking for what building needs"
"$root/scripts/install-dependencies.sh" build
find_dotnet

say "2/5 building, and looking for the rest at the same time"
kernel=$root/out/interpreter-kernel/interpreter-kernel
building=$(mktemp)
setsid "$root/scripts/build.sh" >"$building" 2>&1 & build=$!
trap 'kill -- -$build 2>/dev/null || true; rm -f "$building"' EXIT     # all that it started goes too
installed=0
"$root/scripts/install-dependencies.sh" || installed=$?
wait $build || { cat "$building" >&2; die "the build failed: see above"; }
[ $installed = 0 ] || exit $installed
jupyter=$(jupyter_with_nbconvert) || die "no jupyter with nbconvert, although its package is installed"

say "3/5 installing the kernel 'sandbox-python' for $(id -un)"
"$kernel" install --user >&2

say "4/5 checking this machine"
"$kernel" doctor >&2 || die "something above is required and missing; the line says how to mend it"

say "5/5 running notebooks/quickstart.ipynb in a sandbox"
mkdir -p "$root/out/quickstart"
# Without a spare: nothing is to be left of this but the notebook.
INTERPRETER_KERNEL_SPARES=0 "$jupyter" nbconvert --to notebook --execute "$root/notebooks/quickstart.ipynb" \
    --ExecutePreprocessor.kernel_name=sandbox-python --output-dir "$root/out/quickstart" --log-level WARN </dev/null >&2

executed=$root/out/quickstart/quickstart.ipynb
[ -s "$executed" ] || die "nbconvert reported success, but $executed is not there"
cat <<END

Done. The executed notebook is
  $executed
Look at it in a browser (this writes $root/out/quickstart/quickstart.html):
  $jupyter nbconvert --to html $executed
Work with it in JupyterLab, choosing the kernel "Python (sandbox)":
END
if lab=$(command -v jupyter-lab); then
    printf '  %s %s\n' "$lab$([ "$(id -u)" -ne 0 ] || echo " --allow-root")" "$root/notebooks/quickstart.ipynb"
else
    cat <<END
  python3 -m venv ~/.jupyterlab && ~/.jupyterlab/bin/pip install jupyterlab
  ~/.jupyterlab/bin/jupyter lab $root/notebooks/quickstart.ipynb
END
fi
