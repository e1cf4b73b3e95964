#!/usr/bin/env bash
# Several hosts on one Linux machine, for tests of what happens between hosts. Root; needs iproute2 and util-linux.
#
#   hosts.sh up NAME...              starts hosts, each with its own network, addresses 10.77.0.11, .12, ... in order,
#                                    processes, hostname, /tmp, /root and /dev/shm, all on one switch
#   hosts.sh exec NAME CMD...        runs CMD there, in /root, with a clean environment (as a command by ssh has)
#   hosts.sh start NAME LOG CMD...   the same in the background; prints its pid on this machine; LOG is on this machine
#   hosts.sh address NAME            its address
#   hosts.sh cut NAME                pulls its cable: peers hear nothing more, not even a refusal
#   hosts.sh heal NAME               puts the cable back, at full speed
#   hosts.sh slow NAME RATE [DELAY]  limits its link in both directions, e.g. 100mbit 2ms; DELAY needs sch_netem
#   hosts.sh off NAME                power loss: the cable first, so that no connection is closed, then every process
#   hosts.sh crash NAME              every process dies at once, the network stays: peers get resets
#   hosts.sh on NAME                 starts a host again that is off; its disk (/tmp and /root) is as it was
#   hosts.sh list                    hosts, addresses, pids, state of the cable
#   hosts.sh down                    ends every host and the switch; disks are kept below HOSTS_DIR
#
# Environment:
#   HOSTS_DIR     state and disks of the hosts (default: hosts, in the folder for temporary files)
#   HOSTS_SHARED  folders that all hosts see, with colons between them; FROM=TO shows one at another place, and
#                 NAME@FROM=TO on one host alone. $HOSTS_DIR/common is always there, as /common.
#   HOSTS_SHM     size of /dev/shm of each host (default 600m)
#   HOSTS_DEBIAN  if set, each host has its own name at 127.0.1.1 in /etc/hosts, as Debian installs it
#
# Nothing of this machine's own network is touched: the switch lives in a namespace too, and no host can leave it.
# Hosts share cores, kernel and clock. What runs on them is all killed with their first process.
set -euo pipefail

HOSTS_DIR=${HOSTS_DIR:-${TMPDIR:-/tmp}/hosts}
HOSTS_SHARED=${HOSTS_SHARED:-}
HOSTS_SHM=${HOSTS_SHM:-600m}
HOSTS_DEBIAN=${HOSTS_DEBIAN:-}
NET=10.77.0

fail() { echo "hosts.sh: $*" >&2; exit 1; }

pid_of() {  # of the first process of a host, or of the switch
  local file="$HOSTS_DIR/$1/pid"
  [ -s "$file" ] || fail "there must be a host $1, got none in $HOSTS_DIR"
  cat "$file"
}
alive() { [ -s "$HOSTS_DIR/$1/pid" ] && kill -0 "$(cat "$HOSTS_DIR/$1/pid")" 2>/dev/null; }
names() { for folder in "$HOSTS_DIR"/*/address; do [ -e "$folder" ] && basename "$(dirname "$folder")"; done; true; }
address_of() { cat "$HOSTS_DIR/$1/address"; }
port_of() { echo "port$(address_of "$1" | sed 's/.*\.//')"; }  # of the switch, 15 letters at most
in_switch() { nsenter -t "$(pid_of switch)" -n "$@"; }
within() { local pid; pid=$(pid_of "$1"); shift; nsenter -t "$pid" -n -m -u -i -p "$@"; }

start_switch() {
  alive switch && return
  mkdir -p "$HOSTS_DIR/switch" "$HOSTS_DIR/common"
  setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 8>&- &
  echo $! >"$HOSTS_DIR/switch/pid"
  until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
  in_switch ip link set lo up
  in_switch ip link add switch type bridge
  in_switch ip address add "$NET.254/24" dev switch
  in_switch ip link set switch up
}

# Folders that shared ones are to be shown at must be there before. They stay: taking one away would take what is
# mounted there from the hosts of another HOSTS_DIR too.
make_places() {
  local entry
  for entry in /common $(tr ':' ' ' <<<"$HOSTS_SHARED"); do
    entry=${entry##*=}
    case $entry in /tmp/* | /root/*) continue ;; esac  # of the hosts' own disks
    mkdir -p "$entry"
  done
}

start_host() {
  local name=$1 folder="$HOSTS_DIR/$1" outer port
  mkdir -p "$folder/home" "$folder/tmp"
  chmod 1777 "$folder/tmp"
  setsid unshare --net --mount --uts --ipc --pid --fork --kill-child --propagation private \
    bash -c "$INIT" init "$name" "$folder" "$HOSTS_DIR/common=/common:$HOSTS_SHARED" "$HOSTS_SHM" \
    </dev/null >"$folder/init.log" 2>&1 8>&- &
  outer=$!
  until [ -n "$(pgrep -P $outer)" ]; do sleep 0.05; kill -0 $outer || fail "$(cat "$folder/init.log")"; done
  pgrep -P $outer >"$folder/pid"
  port=$(port_of "$name")
  in_switch ip link del "$port" 2>/dev/null || true
  ip link add "$port" netns "$(pid_of switch)" type veth peer name eth0 \
    address "02:00:00:00:00:$(address_of "$name" | sed 's/.*\.//')" netns "$(cat "$folder/pid")"  # known to neighbours
  in_switch ip link set "$port" master switch up
  nsenter -t "$(cat "$folder/pid")" -n sh -c "ip link set lo up && ip address add $(address_of "$name")/24 dev eth0 \
    && ip link set eth0 up && ip route add default via $NET.254"
  until [ -e "$folder/ready" ]; do sleep 0.05; alive "$name" || fail "$(cat "$folder/init.log")"; done
}

# The first process of a host: makes its view of files, then gathers orphans for ever.
INIT='
set -e
name=$1 folder=$2 shared=$3 shm=$4
rm -f "$folder/ready"
hostname "$name"
mount -t proc proc /proc
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t tmpfs -o size="$shm" tmpfs /dev/shm
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$folder/resolv.conf" /etc/resolv.conf  # refuses at once; a name server out of reach is waited for
exec 9<"$folder"
mount -t tmpfs tmpfs /mnt
count=0; IFS=:
for entry in $shared; do
  case $entry in *@*) [ "${entry%%@*}" = "$name" ] || continue; entry=${entry#*@} ;; esac
  mkdir "/mnt/$((count += 1))"; mount --rbind "${entry%%=*}" "/mnt/$count"; targets[$count]=${entry#*=}
done
mount --bind "$folder/home" /root
mount --bind "$folder/tmp" /tmp
for i in $(seq $count | tr "\n" ":"); do mkdir -p "${targets[$i]}"; mount --rbind "/mnt/$i" "${targets[$i]}"; done
umount -l /mnt
touch /proc/self/fd/9/ready
exec 9<&-
cd /
while :; do sleep 1000 & wait $!; done
'

write_hosts() {
  local own name
  for own in $(names); do
    echo "nameserver 127.0.0.1" >"$HOSTS_DIR/$own/resolv.conf"
    {
      echo "127.0.0.1 localhost"
      for name in $(names); do
        if [ -n "$HOSTS_DEBIAN" ] && [ "$name" = "$own" ]; then echo "127.0.1.1 $name"; else echo "$(address_of "$name") $name"; fi
      done
    } >"$HOSTS_DIR/$own/hosts"
  done
}

end() {
  local pid; pid=$(pid_of "$1")
  kill -9 "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}
shaping() {  # RATE [DELAY]: what tc is to do; only kernels with sch_netem delay
  if [ $# -gt 1 ]; then echo "netem rate $1 delay $2"; else echo "tbf rate $1 burst 64kb latency 200ms"; fi
}

command=${1:-}; shift || true
case $command in
  up | on | off | crash | down)  # one at a time, lest a host be started twice; what runs on hosts does not hold it
    mkdir -p "$HOSTS_DIR"
    exec 8>"$HOSTS_DIR/lock"
    flock 8
    ;;
esac
case $command in
  up)
    [ $# -gt 0 ] || fail "up must be given names, got none"
    start_switch
    taken=$(names | wc -l)
    for name; do
      [ -e "$HOSTS_DIR/$name/address" ] && continue
      mkdir -p "$HOSTS_DIR/$name"
      echo "$NET.$((11 + taken++))" >"$HOSTS_DIR/$name/address"
    done
    write_hosts
    make_places
    for name; do alive "$name" || start_host "$name"; done
    ;;
  on) alive "$1" || start_host "$1" ;;
  exec)
    name=$1; shift
    exec nsenter -t "$(pid_of "$name")" -n -m -u -i -p \
      env -i HOME=/root PATH="$PATH" LANG=C.UTF-8 TERM="${TERM:-dumb}" sh -c 'cd && exec "$@"' sh "$@"
    ;;
  start)
    name=$1 log=$2; shift 2
    setsid "$0" exec "$name" "$@" </dev/null >"$log" 2>&1 &
    echo $!
    ;;
  address) address_of "$1" ;;
  cut) in_switch ip link set "$(port_of "$1")" down ;;
  heal)
    in_switch ip link set "$(port_of "$1")" up
    in_switch tc qdisc del dev "$(port_of "$1")" root 2>/dev/null || true
    within "$1" tc qdisc del dev eth0 root 2>/dev/null || true
    ;;
  slow)
    in_switch tc qdisc replace dev "$(port_of "$1")" root $(shaping "${@:2}")
    within "$1" tc qdisc replace dev eth0 root $(shaping "${@:2}")
    ;;
  off) in_switch ip link set "$(port_of "$1")" down; end "$1" ;;
  crash) end "$1" ;;
  list)
    for name in $(names); do
      state=off
      if alive "$name"; then state=$(in_switch cat "/sys/class/net/$(port_of "$name")/operstate" 2>/dev/null || in_switch ip -br link show "$(port_of "$name")" | awk '{print $2}'); fi
      echo "$name $(address_of "$name") $(cat "$HOSTS_DIR/$name/pid" 2>/dev/null) $state"
    done
    ;;
  down)
    for name in $(names) switch; do if alive "$name"; then kill -9 "$(pid_of "$name")"; fi; rm -f "$HOSTS_DIR/$name/pid" "$HOSTS_DIR/$name/address"; done
    ;;
  *) sed -n '2,29p' "$0"; exit 2 ;;
esac
