#!/bin/sh
# environment.sh DIR EXTRA [PYTHON]: a virtual environment in DIR with pellucid[EXTRA] installed, editable.
#
# A second call with nothing changed returns at once: the stamp in DIR names the interpreter and pyproject.toml's sum.
# PYTHON is a command, a path, or a version such as 3.12, looked for in pyenv and on PATH; empty means the first
# of python3, python3.13, python3.12, python3.11 that is new enough.
set -eu

directory=$1
extra=$2
wanted=${3:-}

fail() {
    printf '\n%s\n\n' "$*" >&2
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    case $wanted in
        "") candidates="python3 python3.13 python3.12 python3.11" ;;
        3.[0-9]*)
            # Every patch release that pyenv has, the newest first; then whatever PATH offers.
            root=${PYENV_ROOT:-$HOME/.pyenv}
            candidates="$(ls -d "$root/versions/$wanted".*/bin/python 2>/dev/null | sort -rV) python$wanted" ;;
        *) candidates=$wanted ;;
    esac
    for candidate in $candidates; do
        if new_enough "$candidate"; then
            # The interpreter itself: neither a pyenv shim nor a link of a virtual environment.
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
            return
        fi
    done
}

python=$(find_python)
if [ -z "$python" ]; then
    if [ -n "$wanted" ]; then
        fail "Python $wanted was not found, or is older than 3.11 (looked in pyenv and on PATH)."
    fi
    fail "pellucid needs Python 3.11 or newer, and none was found on PATH.
On Debian 12 or Ubuntu 24.04:   sudo apt-get install -y python3 python3-venv
Elsewhere, name one:            make demo PYTHON=/path/to/python3.11"
fi

stamp=$directory/.installed-$extra
state="$python $(cksum <pyproject.toml)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && new_enough "$directory/bin/python"; then
    exit 0
fi

if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "$python has no venv module (Debian and Ubuntu ship it apart). Install it, then run this again:
    sudo apt-get install -y python$version-venv"
fi

# An environment of another interpreter is made anew.
clear=
for old in "$directory"/.installed-*; do
    if [ -f "$old" ] && [ "$(cut -d' ' -f1 "$old")" != "$python" ]; then clear=--clear; fi
done
[ -x "$directory/bin/pip" ] && [ -z "$clear" ] || "$python" -m venv $clear "$directory"
printf 'Installing pellucid[%s] into %s (%s) ...\n' "$extra" "$directory" "$("$python" -V)"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" ||
    fail "pip could not install pellucid[$extra] into $directory: see its message above. Then run this again."
printf '%s\n' "$state" >"$stamp"
