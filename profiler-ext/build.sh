#!/bin/sh
# Builds the extension out of tree. In: PG_CONFIG, or none: that of the newest server of Debian's folders, else the one on
# the path. Out: build/pg<major>/sql_profiler.so. Installs nothing: tests put it beside a copy of the server's programs
# (bench/rig/profiled_server.ts), and `make install` with the Makefile here is for servers that are to have it.
# Quick when nothing changed; says what is missing and how to get it when it cannot build.
set -eu
cd "$(dirname "$0")"

newest() {
  for found in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -t / -k 5 -n -r); do
    [ -f "$("$found" --pgxs)" ] && { echo "$found"; return; }
  done
  command -v pg_config || true
}
pg_config=${PG_CONFIG:-$(newest)}
[ -n "$pg_config" ] || { echo "build: pg_config is missing: apt-get install postgresql-server-dev-all" >&2; exit 1; }
major=$("$pg_config" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
[ -f "$("$pg_config" --includedir-server)/postgres.h" ] && [ -f "$("$pg_config" --pgxs)" ] || {
  echo "build: headers of the PostgreSQL $major server are missing: apt-get install postgresql-server-dev-$major" >&2
  exit 1
}
mkdir -p "build/pg$major"
exec flock -o "build/pg$major/.lock" make -s -C "build/pg$major" -f "$PWD/Makefile" "PG_CONFIG=$pg_config"
