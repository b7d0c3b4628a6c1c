#!/bin/sh
# Builds the extension out of tree. In: PG_CONFIG, or none: that of the newest server of Debian's folders, else the one on
# the path; PROF_VARIANT for tests, "sanitized" (UBSan, test/sanitized.c; each row with a kept end is made twice) or
# "failing" (test/failing.c). Out: build/pg<major>[-<variant>]/sql_profiler.so. Installs nothing: tests put it beside a copy of the server's programs
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

variant=${PROF_VARIANT:-}
case $variant in
"") flags= ldflags= objects= ;;
sanitized)
  flags="-g -O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize=undefined -fno-sanitize-recover=all -DPROF_CHECK_TAILS"
  ldflags="-fsanitize=undefined" objects=test/sanitized.o ;;
failing)
  # What is called with a checked size has another name, and would not be wrapped.
  flags="-U_FORTIFY_SOURCE"
  ldflags=$(sed -n 's/.*__wrap_\([A-Za-z]*\)(.*;$/-Wl,--wrap=\1/p; s/^WRAP[A-Z_]*(\([^,]*, \)\{0,1\}\([A-Za-z0-9]*\)[,)].*/-Wl,--wrap=\2/p' test/failing.c | tr '\n' ' ')
  objects=test/failing.o ;;
*) echo "build: PROF_VARIANT must be sanitized, failing or empty, not \"$variant\"" >&2; exit 1 ;;
esac
folder=build/pg$major${variant:+-$variant}
mkdir -p "$folder"
exec flock -o "$folder/.lock" make -s -C "$folder" -f "$PWD/Makefile" "PG_CONFIG=$pg_config" \
  "PROF_CFLAGS=$flags" "PROF_LDFLAGS=$ldflags" "PROF_OBJS=$objects"
