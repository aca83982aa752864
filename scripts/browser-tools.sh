#!/usr/bin/env bash
# Chromium, for the tests that look at the pages. Where it cannot be had, those tests are skipped and say so.
set -uo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" >/dev/null && exit 0
done
[ -n "${CHROMIUM:-}" ] && exit 0
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  # only where it asks for no password: nobody may be there to give one
  sudo -n true 2>/dev/null && sudo="sudo -n" || { echo "[setup] no Chromium here: page tests are skipped; apt-get install chromium"; exit 0; }
fi
command -v apt-get >/dev/null || { echo "[setup] no Chromium here: page tests are skipped"; exit 0; }
echo "[setup] Chromium, for the page tests (90 MB to download)"
{ $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
  >/dev/null 2>&1 || echo "[setup] it could not be installed: those tests are skipped"
exit 0
