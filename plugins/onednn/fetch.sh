#!/usr/bin/env bash
# Fetches oneDNN, library and headers, from PyPI into target/onednn, where the build looks. Needs Python 3 with pip.
set -euo pipefail
cd "$(dirname "$0")/../.."
into="target/onednn"
[ -e "$into/lib/libdnnl.so" ] && { echo "$into is there already"; exit 0; }
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
pip=("${BYOC_PYTHON:-python3}" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" download --no-deps --dest "$work" onednn-cpu-gomp==2023.2.0 onednn-devel-cpu-gomp==2023.2.0
for wheel in "$work"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/unpacked"
done
mkdir -p "$work/onednn"
for part in include lib; do
    find "$work/unpacked" -path "*.data/data/$part" -exec cp -r {} "$work/onednn/" \;
done
# Wheels hold copies where there were links.
for link in libdnnl.so libdnnl.so.3; do
    ln -sf libdnnl.so.3.2 "$work/onednn/lib/$link"
done
mkdir -p target
mv "$work/onednn" "$into"
touch plugins/onednn/build.rs
echo "oneDNN is in $into"
