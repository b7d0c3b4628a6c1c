#!/bin/sh
# Builds what is native: code generated from src/wire/batch.fbs (C++ and TypeScript), the addon, the watchdog.
# In: nothing. Out: src/wire/gen, native/addon/gen, native/addon/build/Release/pem.node,
#   native/watchdog/build/pem-watchdog.
# Quick when nothing changed; says what is missing and how to get it when it cannot build. Run under a lock (npm run
# build:native does).
set -eu
cd "$(dirname "$0")/.."

need() {
  command -v "$1" >/dev/null 2>&1 || { echo "build: $1 is missing: apt-get install $2" >&2; exit 1; }
}
need flatc "flatbuffers-compiler libflatbuffers-dev"
need pg_config libpq-dev
need g++ build-essential
need make build-essential
[ -f "$(pg_config --includedir)/libpq-fe.h" ] || { echo "build: libpq-fe.h is missing: apt-get install libpq-dev" >&2; exit 1; }
printf '#include <flatbuffers/flatbuffers.h>\n' | g++ -std=c++17 -fsyntax-only -x c++ - 2>/dev/null ||
  { echo "build: flatbuffers/flatbuffers.h is missing: apt-get install libflatbuffers-dev" >&2; exit 1; }
[ -d node_modules/node-gyp ] || { echo "build: node_modules is missing: npm ci" >&2; exit 1; }

# newer TARGET FILE..: true when TARGET is there and no FILE is newer.
newer() {
  target=$1
  shift
  [ -e "$target" ] && [ -z "$(find "$@" -newer "$target" 2>/dev/null | head -n 1)" ]
}

if ! newer native/addon/gen/.stamp src/wire/batch.fbs; then
  echo "build: generating code from src/wire/batch.fbs"
  mkdir -p native/addon/gen src/wire/gen
  flatc --cpp --scoped-enums -o native/addon/gen src/wire/batch.fbs
  flatc --ts -o src/wire/gen src/wire/batch.fbs
  # This flatc leaves out the endings that ECMAScript modules need.
  find src/wire/gen -name '*.ts' -exec sed -i "s#from '\(\.[^']*[^s']\)';#from '\1.js';#" {} +
  touch native/addon/gen/.stamp
fi

gyp() {
  # Headers that came with node, where they did; node-gyp downloads them otherwise.
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  set -- "$@" -C native/addon --loglevel=warn
  [ -f "$prefix/include/node/node_api.h" ] && set -- "$@" "--nodedir=$prefix"
  node node_modules/node-gyp/bin/node-gyp.js "$@"
}

if ! newer native/addon/build/Release/pem.node native/addon/*.cc native/addon/*.h native/addon/binding.gyp \
  native/core/*.c native/core/*.h native/addon/gen/batch_generated.h; then
  echo "build: addon"
  # Sources are listed when the makefiles are made: a new file means new makefiles.
  names=$(ls native/addon/*.cc native/core/*.c)
  if ! newer native/addon/build/Makefile native/addon/binding.gyp ||
    [ "$names" != "$(cat native/addon/build/.sources 2>/dev/null)" ]; then
    gyp configure
    printf '%s\n' "$names" >native/addon/build/.sources
  fi
  gyp build
  touch native/addon/build/Release/pem.node
fi

if [ -f native/watchdog/Makefile ]; then
  make -s -C native/watchdog
fi
