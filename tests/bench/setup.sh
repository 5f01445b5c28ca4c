#!/bin/sh
# Make one venv per peer under the folder given.  Usage: setup.sh VENV_DIR [PEER...]
# An existing venv is kept and only topped up.  PYTHON picks the interpreter (default python3).
set -eu
root=${1:?usage: setup.sh VENV_DIR [PEER...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- actors base ray parsl dask xoscar pykka thespian
mkdir -p "$root"
for venv in "$@"; do
    case $venv in
        actors) pkgs="-e $here/../.." ;; # this very tree, changes included
        base) pkgs="joblib loky cloudpickle pynng msgspec" ;; # stdlib, loky, joblib, limits
        ray) pkgs="ray" ;;
        parsl) pkgs="parsl" ;;
        dask) pkgs="dask distributed" ;;
        xoscar) pkgs="xoscar" ;;
        pykka) pkgs="pykka" ;;
        thespian) pkgs="thespian" ;;
        *) echo "unknown venv: $venv" >&2; exit 2 ;;
    esac
    [ -x "$root/$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$root/$venv"
    # shellcheck disable=SC2086
    "$root/$venv/bin/python" -m pip install -q numpy psutil $pkgs || echo "FAILED: $venv" >&2
    # As pip does for what is installed otherwise: else each process compiles our tree.
    [ "$venv" != actors ] ||
        "$root/$venv/bin/python" -m compileall -q "$here/../../actors" "$here/../../providers"
done
