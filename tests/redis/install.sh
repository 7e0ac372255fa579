#!/bin/sh
# Installs what the tests of batches over many machines need on Debian and its kin: a Redis server.
set -eu
apt-get update
# It is not to run by itself: the tests start theirs.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod 755 "$policy"; trap 'rm -f "$policy"' EXIT; }
apt-get install -y --no-install-recommends redis-server
