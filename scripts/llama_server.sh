#!/usr/bin/env bash
# Builds llama.cpp's own server for `make e2e` from the source package of llama-cpp-python, once, into .cache/e2e.
# Needs cmake and a C++ compiler. Prints the server's path as its last line.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSION=0.3.36
readonly SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly CACHE=$PWD/.cache/e2e
readonly SERVER=$CACHE/llama-server-$VERSION
readonly LOG=$CACHE/build.log

fail() {
  printf 'e2e: %s\n' "$1" >&2
  exit 1
}

if [ -x "$SERVER" ]; then
  printf '%s\n' "$SERVER"
  exit
fi
for tool in cmake c++ make; do
  command -v $tool >/dev/null || fail "$tool is missing; on Debian: apt install cmake g++ make"
done

mkdir -p "$CACHE"
: >"$LOG"
archive=$CACHE/llama_cpp_python-$VERSION.tar.gz
if [ ! -e "$archive" ]; then
  printf 'e2e: fetching the source of llama.cpp (77 MB)\n' >&2
  .venv/bin/python -m pip download --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --dest "$CACHE" "llama-cpp-python==$VERSION" >>"$LOG" 2>&1 || fail "pip could not fetch it; see $LOG"
fi
printf '%s  %s\n' "$SHA256" "$archive" | sha256sum --check --quiet - ||
  fail "$archive is not the archive that was expected; remove it and try again"

source=$CACHE/source
if [ ! -e "$source/CMakeLists.txt" ]; then
  rm -rf "$source" "$source.new"
  mkdir "$source.new"
  tar -xzf "$archive" -C "$source.new" --strip-components=3 "llama_cpp_python-$VERSION/vendor/llama.cpp"
  mv "$source.new" "$source"
fi

printf 'e2e: building llama-server (about ten minutes on two cores; what it says goes to %s)\n' "$LOG" >&2
cmake -S "$source" -B "$CACHE/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
  -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DGGML_OPENMP=OFF >>"$LOG" 2>&1 ||
  fail "cmake could not set the build up; see $LOG"
cmake --build "$CACHE/build" --target llama-server --parallel "$(nproc)" >>"$LOG" 2>&1 ||
  fail "the build failed; see the end of $LOG"
cp "$CACHE/build/bin/llama-server" "$SERVER.new"
mv "$SERVER.new" "$SERVER"
printf '%s\n' "$SERVER"
