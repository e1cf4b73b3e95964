# What hosts.sh calls on the hosts: bash reads this file, the values of session, first (port), cpus, more, dir, env and
# token, and one call, by its standard input, so that no command line there has any of them.
# shellcheck shell=bash disable=SC2016,SC2086,SC2154
set -e

FACTS='
import importlib.metadata, platform, socket, sys
print("python", platform.python_version())
for name in ("ray", "supercm-ray"):
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, "none")
first, number = int(sys.argv[1]), int(sys.argv[2])
for port in range(first, first + number):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", port))
        except OSError:
            print("busy", port)
            break
'
# Ray and the study are each the processes of a session (of `setsid`), known by the pid of its first process, in a file
# named after them, and by SUPERCM_HOSTS in their environment, lest a pid stand for another after a restart.
processes_of() {  # ray or study
  local pids pid
  [ -s "$session/$1" ] || return 0
  pids=$(ps -o pid= -s "$(cat "$session/$1")" || true)
  for pid in $pids; do
    if grep -qszxF "SUPERCM_HOSTS=$session" "/proc/$pid/environ"; then echo $pids; return; fi
  done
}
start() {  # ray or study, LOG, WORD...: starts a session in the background
  local name=$1 log=$2
  shift 2
  set -m  # so that what is started in the background hears Ctrl-C
  SUPERCM_HOSTS=$session setsid bash -c 'echo $$ >"$SUPERCM_HOSTS/$0"; exec "$@"' "$name" "$@" >"$log" 2>&1 &
  set +m
  until [ -s "$session/$name" ]; do sleep 0.1; done
}

facts() {
  local number=200
  set -- $SSH_CONNECTION
  echo "address $3"
  echo "clock $(date +%s)"
  if [ -e "$session" ] && [ ! -O "$session" ]; then echo "owner $(stat -c %U "$session")"; fi
  if [ -n "$(processes_of ray)" ]; then echo "joined yes"; number=0; fi
  python3 -c "$FACTS" "$first" "$number" || echo "python none"
}
start_ray() {  # ADDRESS [head]: starts Ray, as the head or to join it
  local where=(--address="$1:$first") log=$session/ray.log deadline=$((SECONDS + 180))
  if [ -z "${2:-}" ] && ! timeout 10 bash -c ': </dev/tcp/$0/$1' "$1" "$first" 2>/dev/null; then
    echo "no connection to $1:$first; see that no firewall is between them" >&2  # for which Ray would wait for long
    return 1
  fi
  stop_ray
  rm -rf "$session"
  mkdir -m 700 "$session"
  (umask 077 && printf %s "$token" >"$session/token")
  if [ "${2:-}" ]; then
    where=(--head --port="$first" --ray-client-server-port=$((first + 8)) --include-dashboard=false)
  fi
  set -- $SSH_CONNECTION
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$session/token
  export AUTOSCALER_METRIC_PORT=$((first + 9)) DASHBOARD_METRIC_PORT=$((first + 10))
  start ray "$log" ray start --block "${where[@]}" \
    --node-ip-address="$3" --temp-dir="$session/r" --num-cpus="${cpus:-$(nproc)}" --disable-usage-stats \
    --node-manager-port=$((first + 1)) --object-manager-port=$((first + 2)) --runtime-env-agent-port=$((first + 3)) \
    --dashboard-agent-listen-port=$((first + 4)) --dashboard-agent-grpc-port=$((first + 5)) \
    --metrics-export-port=$((first + 6)) --min-worker-port=$((first + 20)) --max-worker-port=$((first + 199)) $more
  until grep -qs 'Ray runtime started' "$log"; do
    if [ -z "$(processes_of ray)" ] || [ $SECONDS -ge $deadline ]; then tail -n 5 "$log" >&2; stop_ray; return 1; fi
    sleep 0.2
  done
}
stop_ray() {  # ends what start_ray has started, and nothing else
  local left deadline=$((SECONDS + 15))
  left=$(processes_of ray)
  if [ -n "$left" ]; then kill -TERM "$(cat "$session/ray")" || true; fi  # it ends the others
  while [ -n "$left" ]; do
    if [ $SECONDS -ge $deadline ]; then kill -KILL $left || true; fi
    sleep 0.2
    left=$(processes_of ray)
  done
  rm -rf "$session/r" "$session/token"
}

state() {  # of the study on the head: "running", the token and the command, each on a line; or nothing
  if [ -n "$(processes_of study)" ]; then
    printf 'running\n%s\n%s\n' "$(cat "$session/token")" "$(cat "$session/command")"
  fi
}
check_study() { cd "$dir" && [ -f "$1" ]; }
start_study() {  # ADDRESS WORD...: starts the study; Ray on the head ends with it
  export RAY_ADDRESS=$1:$first RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$session/token session
  shift
  cd "$dir"
  printf '%q ' "$@" >"$session/command"
  export -f run_study stop_ray processes_of
  start study "$session/log" bash -c 'run_study "$@"' bash "$@"
}
run_study() {
  local code=0
  set -m
  supercm-ray tune "$@" &
  set +m  # which would tell of its end
  echo $! >"$session/driver"
  wait $! || code=$?
  stop_ray
  echo $code >"$session/status"
}
follow() {  # shows the study's output until it ends, and ends as it did
  tail -n +1 -f --pid="$(cat "$session/study")" "$session/log"
  exit "$(cat "$session/status" || echo 75)"  # without one it was killed
}
signal_study() {
  until [ -s "$session/driver" ]; do sleep 0.2; done
  kill -s "$1" "$(cat "$session/driver")"
}
