#!/usr/bin/env bash
# Makes the virtual environment in .venv from requirements.lock and installs this project into it, editable.
# `make setup` calls it. PYTHON=/path/to/python chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VENV=.venv
readonly LOG=$VENV/setup.log
readonly PIP="$VENV/bin/python -m pip install --no-deps --no-build-isolation --progress-bar off"
# A user's own pip settings must not send the packages elsewhere than into .venv.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

# Prints "3.12" if the interpreter runs and can make virtual environments. A pyenv shim may be on the PATH and
# fail when it is called, so being found is not enough.
version_of() {
  "$1" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in python3.12 python3.11 python3; do
    if version_of "$candidate" >/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  if command -v python3 >/dev/null; then
    fail "no Python found that can make virtual environments; on Debian: apt install python3 python3-venv"
  fi
  fail "no Python found; install Python 3.12 or 3.11, or name one: make setup PYTHON=/path/to/python3.12"
}

# LevelDB's binding has wheels up to Python 3.12 only; above, pip must compile it.
check_can_compile() {
  local python=$1 version=$2 missing=()
  command -v gcc >/dev/null || command -v cc >/dev/null || missing+=("a C++ compiler (g++)")
  "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
    missing+=("Python.h (python3-dev)")
  if [ ! -e /usr/include/leveldb/db.h ] && [ ! -e /usr/local/include/leveldb/db.h ]; then
    missing+=("LevelDB's headers (libleveldb-dev)")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    local list
    list=$(printf ', %s' "${missing[@]}")
    fail "plyvel has no wheel for Python $version, so it must be compiled, and these are missing (in brackets\
 Debian's package): ${list#, }. Install them, or use Python 3.12 or 3.11: make setup PYTHON=python3.12"
  fi
  printf 'setup: plyvel has no wheel for Python %s and will be compiled; only 3.11 and 3.12 are tested\n' "$version"
}

# Reads pip's output and shows how far it is: one line that moves on a terminal, a line now and then elsewhere.
show_progress() {
  local total=$1 live=0
  [ -t 1 ] && live=1
  awk -v total="$total" -v live="$live" -v log_file="$LOG" '
    { print >> log_file }
    /^(Collecting|Processing|Requirement already satisfied:) / {
      seen++; name = $0
      sub(/^(Collecting|Processing|Requirement already satisfied:) /, "", name)
      sub(/[ =;].*/, "", name); sub(/.*\//, "", name)
      if (live) printf "\r\033[K  %d/%d %s", seen, total, name
      else if (seen % 25 == 0) printf "  %d/%d packages\n", seen, total
      fflush()
    }
    /^Installing collected packages/ {
      if (live) printf "\r\033[K"
      print "  all packages are here, unpacking them"; fflush()
    }
    END { if (live) printf "\r\033[K" }'
}

# The lock's row for one package, with its hashes.
rows_of() {
  awk -v start="$1==" 'index($0, start) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' requirements.lock
}

[ "$(uname -s)" = Linux ] || fail "bizra-node runs on Linux only; this is $(uname -s)"

# A .venv that was moved here from elsewhere names its old place in every program.
if [ -e $VENV ] && ! grep -qsF "$PWD/$VENV" $VENV/bin/activate; then
  printf 'setup: %s was made in another place; making it anew\n' "$VENV"
  rm -rf $VENV
fi

python=${PYTHON:-}
if [ -n "$python" ]; then
  version=$(version_of "$python") ||
    fail "PYTHON=$python does not run, or cannot make virtual environments (Debian: python3-venv)"
elif version=$(version_of $VENV/bin/python); then
  python=$VENV/bin/python
else
  python=$(find_python)
  version=$(version_of "$python")
fi

minor=${version#3.}
if [ "${version%%.*}" != 3 ] || [ "$minor" -lt 11 ]; then
  fail "Python 3.11 or newer is needed and $python is $version; install python3.12 or python3.11, or name one:\
 make setup PYTHON=/path/to/python3.12"
fi
[ "$minor" -lt 13 ] || check_can_compile "$python" "$version"

# Kept if it works and is of the version that is asked for.
if [ -e $VENV ] && [ "$(version_of $VENV/bin/python || true)" != "$version" ]; then
  printf 'setup: %s was made by another Python; making it anew\n' "$VENV"
  rm -rf $VENV
fi
if [ ! -e $VENV ]; then
  printf 'setup: making %s with Python %s\n' "$VENV" "$version"
  "$python" -m venv $VENV
fi

: >"$LOG"
# Rows with a marker for another system are left out by pip, so this is a little too many.
total=$(grep -cE '^[a-z0-9.-]+==' requirements.lock)
printf 'setup: installing up to %s packages from requirements.lock (the first time 600 MB on disk)\n' "$total"
# First what builds packages, then the rest without build isolation: so pip fetches nothing beside the lock.
if ! $PIP --require-hashes -r <(rows_of setuptools) >>"$LOG" 2>&1 ||
  ! $PIP --require-hashes -r requirements.lock 2>&1 | show_progress "$total" ||
  ! $PIP --editable . >>"$LOG" 2>&1; then
  tail -n 20 "$LOG" >&2
  if grep -qE "Python\.h|command '[^']*(gcc|cc|g\+\+)'|leveldb/" "$LOG"; then
    fail "a package had to be compiled; on Debian: apt install gcc g++ python3-dev libleveldb-dev libgmp-dev"
  fi
  fail "installing failed; the lines above say why, all of pip's output is in $LOG"
fi
printf 'setup: ready, in .venv/bin: bizra-node, bizra-sim\n'
