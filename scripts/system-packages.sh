#!/usr/bin/env bash
# System packages that pip needs to build libp2p's dependencies. Says what is missing and why; installs only that, only when needed.
set -euo pipefail
python=${1:-python3}
missing=()
have_header() { printf '#include <%s>\n' "$1" | gcc -E -x c - "${@:2}" >/dev/null 2>&1; }

command -v gcc >/dev/null || missing+=(build-essential)
have_header gmp.h || missing+=(libgmp-dev)
have_header Python.h "-I$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" || missing+=(python3-dev)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

echo "[setup] missing system packages: ${missing[*]} (a compiler and headers for fastecdsa, which libp2p needs)"
sudo=""
[ "$(id -u)" -eq 0 ] || sudo=sudo
if ! command -v apt-get >/dev/null || { [ -n "$sudo" ] && ! command -v sudo >/dev/null; }; then
  echo "[setup] please install them with your system's package manager, then run make again" >&2
  exit 1
fi
if [ -t 0 ] && [ -z "${CI:-}" ]; then
  read -r -p "[setup] install them now with apt-get? [Y/n] " answer
  case "$answer" in [nN]*) exit 1 ;; esac
fi
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
