#!/usr/bin/env bash
# Sets up what the tests need and runs them all: format, lints, licences, advisories, tests.
# Needs Rust 1.95, a C and C++ compiler, and Python 3 with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n==> %s\n' "$*"; }

if [ -n "${CI:-}" ]; then
    # Nobody builds there again, or debugs.
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none
fi

step "Python packages for the tests that ask other runtimes"
venv="$PWD/target/python"
if ! cmp -s tests/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/requirements.txt
    cp tests/requirements.txt "$venv/requirements.txt"
fi
export BYOC_PYTHON="$venv/bin/python3"

step "oneDNN for the plugin around it"
plugins/onednn/fetch.sh

step "Format"
cargo fmt --all --check

step "Lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

if cargo deny --version >/dev/null 2>&1; then
    step "Advisories"
    cargo deny check advisories || { [ $? -eq 2 ] && echo "the advisory database cannot be reached"; }
fi

step "Build"
# The command and the plugins, which tests load.
cargo build --workspace --locked

step "Tests"
export INSTA_UPDATE=no
cargo test --workspace --locked

step "Against ONNX Runtime"
"$BYOC_PYTHON" tests/python/check_fused_operators.py target/debug/byoc
# Once more with those that CUDA takes on the pretended GPU.
fake="$PWD/target/debug/libbyoc_fake_cuda.so"
BYOC_CUDA_DRIVER="$fake" BYOC_CUDA_NVRTC="$fake" "$BYOC_PYTHON" tests/python/check_fused_operators.py \
    target/debug/byoc --plugin target/debug/libbyoc_cuda.so
"$BYOC_PYTHON" tests/python/fuzz_against_onnxruntime.py target/debug/byoc \
    --operators 600 --graphs 150 --seed 7
