#!/usr/bin/env bash
# The installed tree as a C programmer meets it: pkg-config, C99 and C++17, shared and static, CMake package, exported symbols.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/build/native/installed
lib=$(dirname "$(find "$root" -name 'liboverread.so' | head -n 1)")
export PKG_CONFIG_PATH=$lib/pkgconfig
work=build/native/client
mkdir -p "$work"
read -ra flags <<< "$(pkg-config --cflags --libs overread)"
cc -std=c99 -Wall -Wextra -pedantic -Werror tests/native/client.c "${flags[@]}" -o "$work/shared"
LD_LIBRARY_PATH=$lib "$work/shared"
read -ra cflags <<< "$(pkg-config --cflags overread)"
read -ra private <<< "$(pkg-config --static --libs overread | sed 's/-L[^ ]*//; s/-loverread//')"
cc -std=c99 -Wall -Wextra -pedantic -Werror tests/native/client.c "${cflags[@]}" "$lib/liboverread.a" "${private[@]}" -o "$work/static"
"$work/static"
echo '#include <overread.h>' | c++ -std=c++17 -Wall -Wextra -pedantic -Werror "${cflags[@]}" -fsyntax-only -x c++ -
cat > "$work/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(client C CXX)
find_package(overread CONFIG REQUIRED)
add_executable(client ../../../tests/native/client.c)
target_link_libraries(client PRIVATE overread::overread)
EOF
cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$root" > /dev/null
cmake --build "$work/build" > /dev/null
"$work/build/client"
nm -D --defined-only "$lib/liboverread.so" | awk '$2=="T"{print $3}' | sed 's/@.*//' | sort > "$work/symbols.txt"
diff tests/data/abi-symbols.txt "$work/symbols.txt" || { echo "exported symbols differ from tests/data/abi-symbols.txt: an ABI change needs a new golden list and a CHANGELOG line"; exit 1; }
echo "installed tree: shared, static, CMake and symbols are right"
