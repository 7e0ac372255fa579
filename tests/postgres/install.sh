#!/bin/sh
# Installs what the tests of the team's log need on Debian and its kin: a PostgreSQL server.
set -eu
apt-get update
# No cluster of its own: the tests make theirs.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get install -y --no-install-recommends postgresql
