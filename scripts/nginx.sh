#!/usr/bin/env bash
# Builds build/nginx/ngx_http_overread_module.so against the nginx that Debian's nginx-dev configures (binary compatible with the
# installed one). Usage: scripts/nginx.sh [install], with DESTDIR
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
module=build/nginx/ngx_http_overread_module.so
headers=/usr/share/nginx/src
export PATH=$PWD/.venv/bin:$PATH
for tool in cmake ninja; do
  command -v $tool > /dev/null || { echo "$tool is missing: apt-get install cmake ninja-build, or scripts/setup.sh test" >&2; exit 1; }
done
[[ -r $headers/conf_flags ]] || { echo "$headers is missing: apt-get install nginx-dev" >&2; exit 1; }

# The same tree as the native tests', so that the core is compiled once.
cmake -S csrc -B build/native -G Ninja > /dev/null
# What the core decodes content codings with, as its pkg-config file tells it.
codecs=$(sed -n 's/^Libs.private: //p' build/native/overread.pc | sed 's/ *-lstdc++ -lm$//')
cmake --build build/native --target overread_core > build/native/core.log 2>&1 || { cat build/native/core.log >&2; exit 1; }

wanted=$(sha256sum nginx/* scripts/nginx.sh csrc/include/overread.h build/native/liboverread.a $headers/conf_flags | sha256sum)
if [[ ! -f $module || $(cat build/nginx/stamp 2> /dev/null) != "$wanted" ]]; then
  rm -rf build/nginx
  mkdir -p build/nginx
  cp -r $headers build/nginx/tree
  (
    cd build/nginx/tree
    source ./conf_flags
    export OVERREAD_INCLUDE=$root/csrc/include OVERREAD_LIBRARY="$root/build/native/liboverread.a $codecs"
    bash ./configure "${NGX_CONF_FLAGS[@]}" --with-cc-opt='-O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIC' \
      --with-ld-opt='-Wl,-z,relro -Wl,-z,now' --add-dynamic-module="$root/nginx"
    make -f objs/Makefile modules
  ) > build/nginx.log 2>&1 || { tail -n 30 build/nginx.log >&2; exit 1; }
  cp build/nginx/tree/objs/ngx_http_overread_module.so $module
  echo "$wanted" > build/nginx/stamp
fi

if [[ ${1:-} == install ]]; then
  install -D -m 644 $module "${DESTDIR:-}/usr/lib/nginx/modules/ngx_http_overread_module.so"
  install -D -m 644 nginx/overread.conf "${DESTDIR:-}/usr/share/doc/overread/nginx.conf"
fi
