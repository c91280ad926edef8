#!/usr/bin/env bash
# Holds the gateway against clients that others wrote: langchain-openai and instructor from PyPI, compatcanary from npm.
# They live in .clients, outside the lock: nothing of them is a part of the product.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly HOME_OF_CLIENTS=.clients
if ! cmp -s tests/clients/requirements.txt $HOME_OF_CLIENTS/installed; then
  rm -rf $HOME_OF_CLIENTS
  .venv/bin/python -m venv $HOME_OF_CLIENTS/python
  $HOME_OF_CLIENTS/python/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
  if command -v npm >/dev/null; then
    npm install --silent --no-save --prefix $HOME_OF_CLIENTS/npm compatcanary@0.2.2
  else
    echo "clients: npm is not installed, so compatcanary is left out"
  fi
  cp tests/clients/requirements.txt $HOME_OF_CLIENTS/installed
fi
exec .venv/bin/python -m pytest --all tests/node/test_other_clients.py
