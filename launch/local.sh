#!/usr/bin/env bash
# Tunes a study on this machine:  launch/local.sh [--mlflow] [--dashboard] STUDY.yaml [KEY=VALUE ...]
#   --mlflow, --mlflow-port N         shows its runs in MLflow at http://127.0.0.1:N, by default a free port
#   --dashboard, --dashboard-port N   shows its trials in optuna-dashboard, likewise (pip install optuna-dashboard)
# Ray runs here, on loopback, and ends with the command, as do both servers, whatever ends it. They show what is on disk:
# the study does not depend on them. The exit status is that of `supercm-ray tune`.
# Run on Debian 12 with bash 5.2: tests/launch/test_local.py.
set -euo pipefail
export RAY_ADDRESS=local

mlflow_port="" dashboard_port="" results=${SUPERCM_RESULTS:-results} words=()
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
while (($#)); do
    case $1 in
        --mlflow) mlflow_port=$(free_port) ;;
        --dashboard) dashboard_port=$(free_port) ;;
        --mlflow-port) mlflow_port=${2:?--mlflow-port takes a number} && shift ;;
        --dashboard-port) dashboard_port=${2:?--dashboard-port takes a number} && shift ;;
        --results) results=${2:?--results takes a folder} && words+=("$1" "$2") && shift ;;
        *) words+=("$1") ;;
    esac
    shift
done
[[ $mlflow_port$dashboard_port ]] || exec supercm-ray tune "${words[@]}"

logs=$(mktemp -d)
servers=()
# shellcheck disable=SC2317 # it is called at the end
end_servers() {
    local groups=("${servers[@]/#/-}")
    kill -- "${groups[@]}" || return
    for _ in {1..50}; do kill -0 -- "${groups[@]}" && sleep 0.1 || return; done
    kill -KILL -- "${groups[@]}"
}
trap 'end_servers 2>/dev/null || true; rm -rf "$logs"' EXIT
set -m # servers and study in process groups of their own: Ctrl-C reaches this script, which tells the study alone

beside() { # NAME COMMAND...: runs a server until this script ends, even by `kill -9`
    local name=$1
    shift
    {
        set +m
        "$@" &
        while kill -0 $$ && kill -0 $!; do sleep 0.5; done 2>/dev/null
        kill 0
    } >"$logs/$name" 2>&1 &
    servers+=($!)
    disown
}

answers() { (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

if [[ $mlflow_port ]]; then
    store=${MLFLOW_TRACKING_URI:-sqlite:///$PWD/mlflow.db}
    if [[ $store == http* ]]; then
        echo "error: --mlflow shows a database, got a server in MLFLOW_TRACKING_URI; open that, or unset it" >&2
        exit 2
    fi
    export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # services of MLflow that no study uses
    MLFLOW_BACKEND_STORE_URI=$store beside mlflow mlflow server --host 127.0.0.1 --port "$mlflow_port" --workers 1
    until answers "$mlflow_port"; do
        if ! kill -0 "${servers[0]}" 2>/dev/null; then
            echo "error: MLflow's server must start on port $mlflow_port, got:" >&2
            tail -n 5 "$logs/mlflow" >&2
            exit 2
        fi
        sleep 0.2
    done
    echo "MLflow   http://127.0.0.1:$mlflow_port"
fi

if [[ $dashboard_port ]]; then
    study=$(supercm-ray tune "${words[@]}" --dry-run | sed -n 's/^name: //p')
    # shellcheck disable=SC2016 # the words are that shell's
    beside dashboard bash -c \
        'until [[ -e $1 ]]; do sleep 0.5; done; exec optuna-dashboard --host 127.0.0.1 --port "$2" "sqlite:///$1"' \
        - "$(realpath -m "$results")/$study/optuna.db" "$dashboard_port"
    echo "Optuna   http://127.0.0.1:$dashboard_port, once the study has begun"
fi

supercm-ray tune "${words[@]}" &
tuning=$!
for signal in INT TERM USR1; do
    # shellcheck disable=SC2064 # the values of now
    trap "kill -$signal $tuning" "$signal"
done
status=0
wait "$tuning" || status=$?
while kill -0 "$tuning" 2>/dev/null; do # a signal has ended the waiting, and the study is closing
    status=0
    wait "$tuning" || status=$?
done
exit "$status"
