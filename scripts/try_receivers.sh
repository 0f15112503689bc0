#!/usr/bin/env bash
# Sends a real trace to Phoenix and to MLflow and reads it back there. Needs uv, unshare and the package registry.
#
#   scripts/try_receivers.sh [phoenix] [mlflow]        both without a name
#
# Everything is in a temporary folder; the servers, the engine and the job run in a network namespace of their own
# (Phoenix opens its gRPC port on all interfaces), and are gone afterwards.
set -euo pipefail

if [ "${IN_NAMESPACE:-}" != yes ]; then
    cd "$(dirname "$0")/.."
    uv sync -q
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    for tool in ${*:-phoenix mlflow}; do
        case $tool in phoenix) package=arize-phoenix ;; mlflow) package=mlflow ;; *) echo "no such tool: $tool"; exit 2 ;; esac
        # Not from here: this project's constraints are not theirs.
        (cd "$place" && uv venv -q "$tool" && VIRTUAL_ENV="$place/$tool" uv pip install -q "$package")
    done
    IN_NAMESPACE=yes PLACE="$place" TOOLS="${*:-phoenix mlflow}" PATH="$PWD/.venv/bin:$PATH" \
        unshare -rn "$0"
    exit
fi

ip link set lo up
export TEAMWRIGHT_HOME="$PLACE/home"
unset TEAMWRIGHT_OTLP_ENDPOINT TEAMWRIGHT_OTLP_HEADERS PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
pids=()
finish() {
    deploy stop --all >/dev/null 2>&1 || true
    deploy engine stop --force >/dev/null 2>&1 || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait || true
}
trap finish EXIT

# up URL: waits until somebody answers there
up() {
    for _ in $(seq 600); do
        curl -sf "$1" >/dev/null && return
        kill -0 "${pids[-1]}" || break
        sleep 0.5
    done
    echo "nothing at $1"
    tail -20 server.log
    exit 1
}

deploy start example:code-review >/dev/null
deploy query code-review "Review examples/data/faulty.py" >/dev/null
for tool in $TOOLS; do
    mkdir -p "$PLACE/data-$tool"
    cd "$PLACE/data-$tool"
    if [ "$tool" = phoenix ]; then
        PHOENIX_HOST=127.0.0.1 PHOENIX_WORKING_DIR="$PWD" PHOENIX_TELEMETRY_ENABLED=false \
            "$PLACE/phoenix/bin/phoenix" serve >server.log 2>&1 &
        pids+=($!)
        up http://127.0.0.1:6006/healthz
        deploy trace send --otlp http://127.0.0.1:6006 --otlp-content --read-back phoenix=http://127.0.0.1:6006
        deploy query code-review "Is examples/data/faulty.py safe?" >/dev/null
        deploy trace send --otlp grpc://127.0.0.1:4317 --otlp-content --read-back phoenix=http://127.0.0.1:6006
    else
        MLFLOW_DISABLE_TELEMETRY=true "$PLACE/mlflow/bin/mlflow" server --host 127.0.0.1 --port 5000 --workers 1 \
            --backend-store-uri "sqlite:///$PWD/mlflow.db" >server.log 2>&1 &
        pids+=($!)
        up http://127.0.0.1:5000/health
        deploy trace send --otlp "http://127.0.0.1:5000;x-mlflow-experiment-id=0" --otlp-content \
            --read-back mlflow=http://127.0.0.1:5000
    fi
done
