#!/usr/bin/env bash
# Set-up behind `make run` and `make test`: Debian packages (only as root, only what is missing), then .venv.
# Usage: scripts/setup.sh run|test|bench|proxies|leaks|peers
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${1:?usage: scripts/setup.sh run|test|bench|proxies|leaks|peers}
started=$SECONDS

retry() {
  local n
  for n in 1 2 3; do
    "$@" && return 0
    echo "try $n of 3 failed: $1" >&2
    sleep $((n * 2))
  done
  return 1
}

# --- Debian packages: one list a suite ---
missing=()
while read -r package; do
  [[ -z $package || $package == \#* ]] && continue
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done < "scripts/packages-$suite.txt"
if ((${#missing[@]})); then
  if [[ $(id -u) != 0 ]]; then
    echo "Debian packages are missing. Run this as root, then try again:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  # No service may start because a test needs its program.
  policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  retry apt-get update -qq
  DEBIAN_FRONTEND=noninteractive retry apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# --- The Linux that the emulator of AVX-512 boots: unpacked only, for an installed one this machine would boot itself ---
if [[ $suite == test && ! -e .cache/linux/vmlinuz ]]; then
  rm -rf .cache/linux
  mkdir -p .cache/linux
  kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1; }
  [[ -n $(kernel) || $(id -u) != 0 ]] || retry apt-get update -qq
  (cd .cache/linux && retry apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$(kernel)")
  dpkg-deb --fsys-tarfile .cache/linux/*.deb | tar -x -C .cache/linux --wildcards --transform 's|.*/||' './boot/vmlinuz-*'
  mv .cache/linux/vmlinuz-* .cache/linux/vmlinuz
  rm .cache/linux/*.deb
fi

# --- Python packages and the extension modules ---
python=$(command -v python3.11 || command -v python3)
export PIP_CACHE_DIR=$PWD/.cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "overread needs Python 3.11 or newer; $python is older" >&2
  exit 1
fi
if [[ ! -x .venv/bin/pip ]]; then
  "$python" -m venv .venv
fi
needs="scikit-build-core>=0.10 pybind11>=2.13 cython>=3.0.11 cython-cmake>=0.2 cmake>=3.25 ninja"
extras=proxy
[[ $suite == run ]] || extras=proxy,dev
[[ $suite == peers || $suite == bench ]] && extras=proxy,dev,$suite
stamp=.venv/stamp-$extras
wanted=$({ echo "$needs $extras"; cat pyproject.toml; } | sha256sum)
if [[ ! -f $stamp || $(cat "$stamp") != "$wanted" ]]; then
  # shellcheck disable=SC2086
  retry .venv/bin/pip install -q $needs
  PATH=$PWD/.venv/bin:$PATH retry .venv/bin/pip install -q --no-build-isolation -e ".[$extras]"
  echo "$wanted" > "$stamp"
  [[ $suite == run ]] || echo "$({ echo "$needs proxy"; cat pyproject.toml; } | sha256sum)" > .venv/stamp-proxy
fi
# Sources may have changed since: the build tree makes it a matter of a second.
tree=$(ls -d build/cp* 2>/dev/null | head -n 1 || true)
sources=$(find csrc envoy src CMakeLists.txt -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.c' -o -name '*.pyx' -o -name '*.txt' -o -name '*.map' \) -print0 | sort -z | xargs -0 sha256sum | sha256sum)
if [[ ! -f .venv/stamp-sources || $(cat .venv/stamp-sources) != "$sources" ]]; then
  if [[ -n $tree && -f .venv/stamp-sources ]]; then
    PATH=$PWD/.venv/bin:$PATH .venv/bin/pip install -q --no-build-isolation --no-deps -e .
  fi
  echo "$sources" > .venv/stamp-sources
fi
[[ $suite != test ]] || bash scripts/nginx.sh
echo "set-up ($suite): $((SECONDS - started)) s"
