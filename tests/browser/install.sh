#!/bin/sh
# Installs what tests/browser needs on Debian and its kin: Chromium, and a font with Chinese in it.
set -eu
apt-get update
apt-get install -y --no-install-recommends chromium fonts-noto-cjk
