#!/usr/bin/env bash
# Tunes a study under SLURM, on one node or several, past the time limit if need be:
#
#   launch/slurm.sh STUDY.yaml [--setup FILE] [SBATCH OPTIONS] [-- KEY=VALUE ... and options of `supercm-ray tune`]
#   sbatch [SBATCH OPTIONS] launch/slurm.sh STUDY.yaml [--setup FILE] [-- ...]
#
# --setup FILE (or SUPERCM_SETUP) is read by the job's shell first, to load modules or activate an environment.
# On one node the command starts Ray itself, on loopback; on several, Ray is a job step on each of them.
#
# docs/clusters/slurm.md says the rest. Run by tests/cluster/test_slurm.py with Debian's SLURM 22.05.8 and munge 0.5.15,
# on two nodes that are namespaces of one machine, with job steps in cgroups; not on real nodes, and not with GPUs.
#
#SBATCH --job-name=supercm-ray
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# The warning before the time limit is USR1, as scancel sends TERM: the one is to go on, the other to end.
set -euo pipefail

INTERRUPTED=143 PREEMPTED=75  # exit statuses of the command, after TERM and after USR1

say() { echo "slurm.sh: $*" >&2; }
refuse() { say "$*"; exit 2; }

read_arguments() {  # sets study, setup, options (of sbatch) and words (of the command)
  [ $# -gt 0 ] || refuse "a study file must be given, got none; give one: slurm.sh STUDY.yaml [sbatch options] [-- ...]"
  study=$1 setup=${SUPERCM_SETUP:-} options=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
      --setup) setup=${2:-}; shift ;;
      --setup=*) setup=${1#*=} ;;
      *) options+=("$1") ;;
    esac
    [ $# -eq 0 ] || shift
  done
  words=("${@:2}")
  [ -r "$study" ] || refuse "the study file must be readable, got $study"
  [ -z "$setup" ] || [ -r "$setup" ] || refuse "the file of --setup must be readable, got $setup"
}

set_up() {  # reads the file of --setup, which may well use variables that are not set
  [ -z "$setup" ] && return
  set +eu
  # shellcheck disable=SC1090
  . "$setup"
  set -eu
}

submit() {
  local name
  name=$(basename "${study%.*}")
  (set_up && supercm-ray tune "$study" "${words[@]}" --dry-run >/dev/null) || exit 2  # rather now than in the queue
  sbatch --job-name="$name" "${options[@]}" "$0" "$study" ${setup:+--setup "$setup"} -- "${words[@]}"
  say "to see it: squeue --me; supercm-ray status $name. To cancel it: scancel JOB, or supercm-ray cancel $name"
}

address_towards() {  # HOST: the address of this node that HOST answers to, whatever this node's name resolves to
  python -c 'import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((sys.argv[1], 9))  # sends nothing
    print(probe.getsockname()[0])' "$1"
}

run_ray() {  # TOWARDS OPTION...: the task of a step: Ray on this node, with what SLURM allotted, until USR2
  local ray address told='' gpus=${CUDA_VISIBLE_DEVICES:+$(tr ',' '\n' <<<"${CUDA_VISIBLE_DEVICES:-}" | wc -l)}
  trap : TERM  # from scancel, to every step at once: Ray stays until the command has closed its records
  trap 'told=1; kill -TERM "$ray"' USR2
  unset "${!MLFLOW_@}" PGPASSWORD
  address=$(address_towards "$1")
  mkdir -m 700 "$RAY_TMPDIR" || return
  ray start --node-ip-address="$address" "${@:2}" --num-cpus="$SLURM_CPUS_ON_NODE" \
    --num-gpus="${SLURM_GPUS_ON_NODE:-${gpus:-0}}" --node-manager-port=$((PORTS + 1)) \
    --object-manager-port=$((PORTS + 2)) --runtime-env-agent-port=$((PORTS + 3)) \
    --dashboard-agent-listen-port=$((PORTS + 4)) --dashboard-agent-grpc-port=$((PORTS + 5)) \
    --metrics-export-port=$((PORTS + 6)) --min-worker-port=0 --max-worker-port=0 --disable-usage-stats \
    --log-style=record --log-color=false --block > >(exec tee "$RAY_TMPDIR/start.log") 2>&1 &
  ray=$!
  while kill -0 "$ray" 2>/dev/null; do wait "$ray"; done
  grep -q "$STARTED" "$RAY_TMPDIR/start.log" || told=1
  rm -rf "$RAY_TMPDIR"
  [ -n "$told" ] || take_over
}

take_over() {  # once the first node is gone, and with it whoever would end the job, puts the job into the queue again
  local left
  until left=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%N) &&
    ! scontrol show hostnames "$left" | grep -qx "$HEAD"; do
    [ -z "$told" ] || return
    sleep 5
  done
  scontrol requeue "$SLURM_JOB_ID"
}

start_ray() {  # NODE TOWARDS OPTION...: starts the step of a node
  srun --overlap --export=ALL --nodes=1 --ntasks=1 --nodelist="$1" --output="$RAY_TMPDIR.$1.log" \
    bash -c "$(declare -f address_towards run_ray take_over); run_ray \"\$@\"" run_ray "${@:2}" &
  steps[$1]=$!
}

await_ray() {  # NODE...: waits until Ray runs on each
  local node log
  for node; do
    log="$RAY_TMPDIR.$node.log"
    until grep -qs "$STARTED" "$log"; do
      kill -0 "${steps[$node]}" 2>/dev/null || { cat "$log" >&2; say "Ray does not start on $node"; exit 1; }
      sleep 0.2
    done
  done
}

start_cluster() {  # Ray on every node, the head on this one, which is the first
  local node address others workers=("${nodes[@]:1}")
  PORTS=$((10000 + SLURM_JOB_ID % 2000 * 10))  # a block of ten for each job, below those that the system hands out
  HEAD=${nodes[0]} STARTED='Ray runtime started'  # what `ray start` says once a node has joined
  export PORTS HEAD STARTED AUTOSCALER_METRIC_PORT=$((PORTS + 8)) DASHBOARD_METRIC_PORT=$((PORTS + 9))
  others=$(scontrol show node "${workers[0]}" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
  address=$(address_towards "$others")
  start_ray "$HEAD" "$others" --head --port="$PORTS" --ray-client-server-port=$((PORTS + 7)) \
    --include-dashboard=false --temp-dir="$RAY_TMPDIR"
  await_ray "$HEAD"
  for node in "${workers[@]}"; do start_ray "$node" "$address" --address="$address:$PORTS"; done
  await_ray "${workers[@]}"
  export RAY_ADDRESS="$address:$PORTS"
}

pass() {  # SIGNAL STATUS: hands a signal on to the command; without one there is nothing to close
  passed+=$1
  if [ -n "$command" ]; then kill -"$1" "$command"; else exit "$2"; fi
}

run_command() {  # the command's exit status, whatever signals come meanwhile
  supercm-ray tune "$study" "${words[@]}" &
  command=$!
  local status before
  while :; do
    status=0 before=$passed
    wait "$command" || status=$?
    [ "$passed" != "$before" ] || return "$status"  # the wait ended because the command did
  done
}

end() {  # ends Ray on every node; then whatever is to go on is put into the queue again
  local status=$? step waited=0
  trap '' TERM USR1
  for step in "${steps[@]}"; do kill -USR2 "$step" 2>/dev/null || true; done
  for step in "${steps[@]}"; do
    while kill -0 "$step" 2>/dev/null && [ $((waited += 1)) -lt 50 ]; do sleep 0.2; done  # a node may be gone
  done
  rm -rf "$RAY_TMPDIR" "$RAY_TMPDIR".*.log
  if [ "$status" = $PREEMPTED ]; then go_on; elif [ -z "$passed" ]; then end_array; fi
  exit "$status"
}

end_array() {  # that there is nothing left to do, or that it was cancelled or failed, holds for further tasks too
  [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || scancel --state=PENDING "$SLURM_ARRAY_JOB_ID"
}

go_on() {
  if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
    say "the next task of array $SLURM_ARRAY_JOB_ID goes on"
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "${SUPERCM_MAX_RESTARTS:-100}" ]; then
    say "not requeued after $SLURM_RESTART_COUNT restarts (SUPERCM_MAX_RESTARTS); the same command goes on"
  elif scontrol requeue "$SLURM_JOB_ID"; then
    say "job $SLURM_JOB_ID is requeued and goes on"
  else
    say "job $SLURM_JOB_ID cannot be requeued; the same command goes on"
  fi
}

run() {  # within a job
  [ ${#options[@]} -eq 0 ] || refuse "within a job there must be no options of sbatch, got ${options[*]}"
  command='' passed=''
  declare -gA steps=()
  mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  set_up
  export RAY_TMPDIR="${RAY_TMPDIR:-/tmp}/supercm-$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
  RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')  # in environments alone
  export RAY_AUTH_MODE RAY_AUTH_TOKEN
  export RAY_ADDRESS=local
  trap end EXIT
  trap 'pass TERM $INTERRUPTED' TERM
  trap 'pass USR1 $PREEMPTED' USR1
  if [ ${#nodes[@]} -eq 1 ]; then mkdir -m 700 "$RAY_TMPDIR"; else start_cluster; fi
  run_command
}

read_arguments "$@"
if [ -n "${SLURM_JOB_ID:-}" ]; then run; else submit; fi
