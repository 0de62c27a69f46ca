#!/usr/bin/env bash
# Three servers of ours beside three members of etcd, on this machine, in one run and with the same load.
#
#   tests/benches/etcd.sh [flags of `quorate bench`]
#
# etcd comes from Debian's packages (3.4) if it is not installed. It keeps its data below the working directory, as ours do, so
# that both write to the same disk; everything is removed afterwards.
set -euo pipefail

if ! command -v etcd >/dev/null; then
    echo "installing etcd-server" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq etcd-server >/dev/null
    # The package starts a service where there is a service manager; the members below are ours alone.
    if command -v systemctl >/dev/null; then systemctl stop etcd >/dev/null 2>&1 || true; fi
fi

root=$(cd "$(dirname "$0")/../.." && pwd)
cargo build --release --locked --bin quorate --manifest-path "$root/Cargo.toml"
target=${CARGO_TARGET_DIR:-$root/target}

data=$(mktemp -d ./etcd-bench.XXXXXX)
pids=()
end() {
    if ((${#pids[@]})); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$data"
}
trap end EXIT

cluster="e1=http://127.0.0.1:7481,e2=http://127.0.0.1:7482,e3=http://127.0.0.1:7483"
for nth in 1 2 3; do
    etcd --name "e$nth" --data-dir "$data/e$nth" --logger zap --log-level error \
        --listen-client-urls "http://127.0.0.1:747$nth" --advertise-client-urls "http://127.0.0.1:747$nth" \
        --listen-peer-urls "http://127.0.0.1:748$nth" --initial-advertise-peer-urls "http://127.0.0.1:748$nth" \
        --initial-cluster "$cluster" --initial-cluster-state new >"$data/e$nth.log" 2>&1 &
    pids+=($!)
done

members=127.0.0.1:7471,127.0.0.1:7472,127.0.0.1:7473
# It serves once a put goes through, which the run begins with.
for _ in $(seq 100); do
    for nth in 1 2 3; do
        (exec 3<>"/dev/tcp/127.0.0.1/747$nth") 2>/dev/null || { sleep 0.1; continue 2; }
    done
    break
done
pid_list=$(IFS=,; echo "${pids[*]}")
"$target/release/quorate" bench --etcd "$members" --etcd-pids "$pid_list" "$@"
