#!/usr/bin/env bash
# Tunes a study on several hosts that are reached by ssh:  launch/hosts.sh HOST1,HOST2,... STUDY [KEY=VALUE ...]
#
# Really run, by tests/cluster/test_ssh.py: three hosts with Debian's sshd 9.2, made of namespaces on one machine.
#
# HOST1 is the head: the study runs there, in the folder from which this command is given or that of --dir, and goes on
# if this terminal is closed; the same command then follows it again. Ctrl-C cancels the study. The exit status is that
# of `supercm-ray tune`. Hosts are as ssh takes them, by keys and not by passwords. Ray listens on all interfaces of
# each host, protected by a token of this run alone: docs/clusters/ssh.md says where, and what to do when.
#
#   --dir DIR        folder of the study on HOST1, and of its results (default: the path of the current folder)
#   --env DIR        virtual environment on each host (default: the one of `supercm-ray` here)
#   --ports FIRST    first of 200 ports that Ray takes on each host (default: 20000); a second study needs others
#   --cpus N         CPUs that Ray may take of each host (default: those allotted to a command by ssh)
#   --ray "OPTIONS"  more options of `ray start`, on each host
#   --strict         refuse to start without a host, instead of leaving it out
#   SUPERCM_SSH      the command for ssh, with options, such as "ssh -F FILE"; default: ssh
#
# MLFLOW_* and SUPERCM_* variables go to the study on HOST1. Words after STUDY go to `supercm-ray tune`.
#
# Variables and functions are used by name, on hosts too:
# shellcheck disable=SC2016,SC2034,SC2317
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=$PWD env='' first=20000 cpus='' more='' strict=''
command=$(command -v supercm-ray || true)
env=${command%/bin/*}
say() { echo "hosts.sh: $*" >&2; }
refuse() { say "$@"; exit 2; }
while [[ ${1:-} == --* ]]; do
  case $1 in
    --dir) dir=$2; shift 2 ;;
    --env) env=$2; shift 2 ;;
    --ports) first=$2; shift 2 ;;
    --cpus) cpus=$2; shift 2 ;;
    --ray) more=$2; shift 2 ;;
    --strict) strict=yes; shift ;;
    *) refuse "known options are --dir, --env, --ports, --cpus, --ray and --strict, got $1" ;;
  esac
done
[ $# -ge 2 ] || { sed -n '2,19s/^# \?//p' "$0" >&2; exit 2; }
[[ $first =~ ^[0-9]+$ ]] || refuse "--ports must be a number, got '$first'"
IFS=, read -ra hosts <<<"$1"
shift
head=${hosts[0]}
[ "$(printf '%s\n' "${hosts[@]}" | sort | uniq -d)" = "" ] || refuse "each host must be named once, got ${hosts[*]}"
session=/tmp/scr-$first  # on each host: token, logs, and what Ray writes
ssh=${SUPERCM_SSH:-ssh}
SSH_OPTIONS=(-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -o ServerAliveCountMax=4)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

on() {  # HOST FUNCTION WORD...: calls a function of on_host.sh there; all goes by standard input, for no process to see
  local host=$1 name
  shift
  {
    cat "$here/on_host.sh"
    for name in session first cpus more dir env token; do printf '%s=%q\n' "$name" "${!name:-}"; done
    echo 'if [ -d "$env/bin" ]; then PATH=$env/bin:$PATH; fi'
    if [ "$1" = start_study ]; then
      for name in $(compgen -e | grep -E '^(MLFLOW_|SUPERCM_)' | grep -v '^SUPERCM_SSH$'); do
        printf 'export %s=%q\n' "$name" "${!name}"
      done
    fi
    printf '{ '
    printf '%q ' "$@"
    printf '\n} </dev/null\nexit\n'
  } | $ssh "${SSH_OPTIONS[@]}" "$host" bash -s
}
each() {  # FUNCTION HOST...: calls a function of this script for all hosts at once; lists those for which it fails
  local name=$1 host pids=() i
  shift
  for host; do "$name" "$host" & pids+=($!); done
  i=0
  for host; do wait "${pids[$i]}" || echo "$host" >>"$work/failed"; i=$((i + 1)); done
}
fact() { awk -v key="$2" '$1 == key {$1 = ""; print substr($0, 2); exit}' "$work/$1.facts" 2>/dev/null; }
ask() {
  local before after
  before=$(date +%s)
  on "$1" facts >"$work/$1.facts" 2>"$work/$1.errors" || true
  after=$(date +%s)
  echo "asked $before $after" >>"$work/$1.facts"
}
fault_of() {  # HOST: why it cannot take part; nothing if it can
  local name asked clock
  if [ -z "$(fact "$1" address)" ]; then echo "does not answer by ssh: $(tail -n 1 "$work/$1.errors")"; return; fi
  name=$(fact "$1" owner)
  if [ -n "$name" ]; then echo "$session there belongs to $name; give other --ports"; return; fi
  for name in python ray supercm-ray; do
    if [ "$(fact "$1" $name)" = none ]; then echo "has no $name; install it there in $env, or give --env"; return; fi
    if [ "$(fact "$1" $name)" != "$(fact "$head" $name)" ]; then
      echo "has $name $(fact "$1" $name), and $head $(fact "$head" $name); install the same on both"; return
    fi
  done
  name=$(fact "$1" busy)
  if [ -n "$name" ]; then echo "something listens on its port $name; give other --ports, or end it"; return; fi
  if [ ${#hosts[@]} -gt 1 ] && [[ $(fact "$1" address) =~ ^(127\.|::1) ]]; then
    echo "is reached at $(fact "$1" address), which is no address for others; name it by another one"; return
  fi
  read -r -a asked <<<"$(fact "$1" asked)"
  clock=$(fact "$1" clock)
  if [ "$clock" -lt $((asked[0] - 5)) ] || [ "$clock" -gt $((asked[1] + 5)) ]; then
    echo "its clock is $((clock - asked[0])) s off this one; set it"
  fi
}
join() { on "$1" start_ray "$address" 2>"$work/$1.errors"; }
leave() { on "$1" stop_ray 2>/dev/null; }
fail() { say "$@"; stop_all; exit 1; }
started=()
stop_all() { if [ ${#started[@]} -gt 0 ]; then each leave "${started[@]}"; fi; }

is_started=''
on_signal() {
  if [ -n "$is_started" ]; then
    say "asks the study to end"
    on "$head" signal_study "$1" || true
  else
    wait  # for hosts that are about to join
    stop_all
    exit "$2"
  fi
}
trap 'on_signal INT 130' INT
trap 'on_signal TERM 143' TERM

each ask "${hosts[@]}"
nodes=()
for host in "${hosts[@]}"; do
  fault=$(fault_of "$host")
  if [ -z "$fault" ]; then
    nodes+=("$host")
  elif [ "$host" = "$head" ] || [ -n "$strict" ]; then
    refuse "$host $fault"
  else
    say "$host is left out: $fault"
  fi
done
address=$(fact "$head" address)
others=("${nodes[@]:1}")
{ read -r running; read -r token; read -r known; } <<<"$(on "$head" state)" || true
if [ "$running" = running ]; then
  [ "$known " = "$(printf '%q ' "$@")" ] ||
    refuse "$head runs another study: $known; follow or cancel that one, or give other --ports"
  say "$head runs this study already"
else
  on "$head" check_study "$1" || refuse "a study file must be on $head, got no $dir/$1 there; copy it, or give --dir"
  token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  started=("$head")
  on "$head" start_ray "$address" head || fail "Ray does not start on $head"
fi
absent=()
for host in "${others[@]}"; do
  if [ "$running" != running ] || [ -z "$(fact "$host" joined)" ]; then absent+=("$host"); fi
done
started+=("${others[@]}")
: >"$work/failed"
each join "${absent[@]}"
mapfile -t failed <"$work/failed"
for host in "${failed[@]}"; do
  [ -z "$strict" ] || fail "$host does not join: $(tail -n 3 "$work/$host.errors")"
  say "$host is left out, it does not join: $(tail -n 3 "$work/$host.errors")"
done
if [ "$running" != running ]; then on "$head" start_study "$address" "$@"; fi
is_started=yes
on "$head" follow &
following=$!
code=0
while kill -0 $following 2>/dev/null; do
  code=0
  wait $following || code=$?  # also ended by a signal, after which the study is still followed
done
wait $following || code=$?
if [ $code = 255 ]; then
  say "the connection to $head broke; the study goes on there if the host does, and the same command follows it again"
  exit 75
fi
stop_all
exit $code
