#!/usr/bin/env bash
# prometheus and promtool, for the tests of metrics, alert rules and dashboards. As root only; without them those tests
# are skipped and say so. The service that the package starts is stopped: the tests start their own.
set -uo pipefail
command -v promtool >/dev/null && command -v prometheus >/dev/null && exit 0
[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || { echo "[setup] prometheus missing: tests of alert rules are skipped"; exit 0; }
echo "[setup] prometheus, for tests of metrics and alert rules (75 MB)"
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus; } >/dev/null 2>&1 \
  || echo "[setup] it could not be installed: those tests are skipped"
command -v systemctl >/dev/null && systemctl disable --now prometheus >/dev/null 2>&1
exit 0
