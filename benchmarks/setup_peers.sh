#!/usr/bin/env bash
# Make an environment for each peer of the benchmarks, with the versions in peers/requirements.
# usage: benchmarks/setup_peers.sh [FOLDER] [PEER...]     default: benchmarks/.venvs, all peers
# Another Python: PYTHON=python3.11 benchmarks/setup_peers.sh (3.11 is what the versions were chosen for).
# An environment that is there and complete is left as it is. Exit status 1 when a peer could not be installed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/.venvs}
[ $# -gt 0 ] && shift
if [ $# -eq 0 ]; then
  for file in "$here"/peers/requirements/*.txt; do set -- "$@" "$(basename "$file" .txt)"; done
fi
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then python=$candidate; break; fi
  done
fi
[ -n "$python" ] || { echo "No Python with venv was found. Set PYTHON=/path/to/python3.11."; exit 1; }
mkdir -p "$folder" || exit 1

missing=()
for peer in "$@"; do
  requirements=$here/peers/requirements/$peer.txt
  if [ ! -f "$requirements" ]; then
    echo "$peer: there is no such peer; known are $(cd "$here/peers/requirements" && ls | sed 's/\.txt$//' | xargs)."
    missing+=("$peer")
    continue
  fi
  venv=$folder/$peer
  if cmp -s "$requirements" "$venv/installed.txt"; then
    echo "$peer: already there"
    continue
  fi
  log=$folder/$peer.log
  if "$python" -m venv --clear "$venv" >"$log" 2>&1 &&
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -r "$requirements" >>"$log" 2>&1; then
    cp "$requirements" "$venv/installed.txt"
    echo "$peer: installed"
  else
    rm -rf "$venv" # half an environment would pass for a whole one
    echo "$peer: could not be installed; $log ends with"
    tail -n 4 "$log" | sed 's/^/  /'
    missing+=("$peer")
  fi
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "Not installed: ${missing[*]}. The benchmarks name them as missing and go on without them."
  exit 1
fi
