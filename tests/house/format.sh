#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each C file looks as clang-format leaves it. usage: format.sh SOURCE-ROOT
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 1
wrong=$(git ls-files '*.c' '*.h' | while read -r file; do
    if [ -f "$file" ] && ! clang-format "$file" | cmp -s - "$file"; then echo "# clang-format -i $file"; fi
done)
echo 1..1
if ! command -v clang-format >/dev/null; then
    echo 'not ok 1 - clang-format is not installed: sudo scripts/deps'
elif [ -n "$wrong" ]; then
    echo 'not ok 1 - formatting'
    echo "$wrong"
else
    echo 'ok 1 - formatting'
fi
