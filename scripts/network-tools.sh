#!/usr/bin/env bash
# Tools for tests that put peers into network namespaces: ip, nft. As root only, for nobody else can use them; without
# them those tests are skipped and say so.
set -uo pipefail
[ "$(id -u)" -eq 0 ] || exit 0
missing=()
command -v ip >/dev/null || missing+=(iproute2)
command -v nft >/dev/null || missing+=(nftables)
command -v sysctl >/dev/null || missing+=(procps)
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || { echo "[setup] ${missing[*]} missing: tests with network namespaces are skipped"; exit 0; }
echo "[setup] ${missing[*]}, for tests with network namespaces (2 MB)"
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
  >/dev/null 2>&1 || echo "[setup] they could not be installed: those tests are skipped"
exit 0
