#!/bin/bash
# A cluster of four hosts on this machine, for tests: network, host name and /etc/hosts of their own, real Slurm on them.
#
#   cluster.sh check           says why it cannot be made here, and fails; silent where it can
#   cluster.sh check hosts     the same for hosts without Slurm
#   cluster.sh hosts DIR       makes hosts without Slurm
#   cluster.sh up DIR          makes hosts NAME1..NAME4 and starts Slurm; DIR keeps its state and its configuration
#   cluster.sh on DIR N CMD…   runs a command on host N
#   cluster.sh cut DIR N       pulls the cable of host N (packets vanish); cluster.sh join DIR N plugs it in again
#   cluster.sh down DIR        ends everything that runs on the hosts, and removes them
#
# The hosts' bridge is in a namespace of its own: this machine's network is not touched. Names begin with a prefix made of
# DIR, so that two tests do not meet.
set -eu
command=$1 dir=${2:-}
prefix=x$(printf %s "$dir" | cksum | cut -c1-4)
hosts=4

say() { echo "$*"; exit 1; }

check() {
  [ "$(id -u)" = 0 ] || say "hosts can be made by root only"
  local slurm="slurmctld slurmd srun munged"
  [ "$dir" = hosts ] && slurm=
  for program in $slurm ip nsenter unshare; do
    command -v $program >/dev/null || say "$program is not installed"
  done
  ip netns add "xprobe$$" 2>/dev/null || say "network namespaces cannot be made here"
  ip netns del "xprobe$$"
  unshare --uts --mount true 2>/dev/null || say "namespaces cannot be made here"
}

on() { # HOST-NUMBER CMD…
  local pid
  pid=$(cat "$dir/host$1.pid") && shift
  exec nsenter -t "$pid" --net --uts --mount --wdns="$PWD" -- env SLURM_CONF="$dir/slurm.conf" "$@"
}

alive() { [ -s "$1" ] && grep -q '^State:[[:space:]]*[^Z]' "/proc/$(cat "$1")/status" 2>/dev/null; }

make_hosts() {
  ip netns add "${prefix}sw"
  ip -n "${prefix}sw" link add br0 type bridge
  ip -n "${prefix}sw" link set br0 up
  { echo "127.0.0.1 localhost"; for i in $(seq $hosts); do echo "10.78.0.$i $prefix$i"; done; } >"$dir/etc-hosts"
  for i in $(seq $hosts); do
    local name=$prefix$i
    ip netns add "$name"
    ip -n "${prefix}sw" link add "p$i" type veth peer name eth0 netns "$name"
    ip -n "${prefix}sw" link set "p$i" master br0 up
    ip -n "$name" addr add "10.78.0.$i/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
    nsenter --net="/run/netns/$name" unshare --uts --mount --propagation private bash -c \
      "hostname $name; mount --bind $dir/etc-hosts /etc/hosts; echo \$\$ >$dir/host$i.pid; exec sleep infinity" \
      </dev/null >/dev/null 2>&1 &
    disown
  done
  for i in $(seq $hosts); do
    for _ in $(seq 100); do
      [ "$( (on "$i" hostname) 2>/dev/null)" = "$prefix$i" ] && break
      sleep 0.02
    done
  done
}

configure() {
  local tracking=linuxproc
  if [ -d /sys/fs/cgroup/freezer ]; then
    tracking=cgroup
    printf 'CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n' >"$dir/cgroup.conf"
  fi
  cat >"$dir/slurm.conf" <<X
ClusterName=$prefix
SlurmctldHost=${prefix}1
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/$tracking
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=5
SlurmdParameters=config_overrides
NodeName=$prefix[1-$hosts] CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
X
}

start_munge() {
  mkdir -p "$dir/munge"
  chown munge: "$dir/munge"
  chmod 755 "$dir/munge"
  dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none
  chown munge: "$dir/munge/key"
  chmod 400 "$dir/munge/key"
  setpriv --reuid=munge --regid=munge --clear-groups munged --num-threads=2 --force --socket="$dir/munge/socket" \
    --key-file="$dir/munge/key" --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
  for _ in $(seq 100); do
    munge --socket="$dir/munge/socket" -n >/dev/null 2>&1 && return
    sleep 0.05
  done
  say "munged does not answer"
}

up() {
  mkdir -p "$dir"/{state,spool,log,run,tmp}
  chmod 755 "$dir"
  make_hosts
  configure
  start_munge
  (on 1 slurmctld -c)
  for i in $(seq $hosts); do
    mkdir -p "$dir/spool/$prefix$i" "$dir/tmp/$prefix$i"
    chmod 1777 "$dir/tmp/$prefix$i"
    (on "$i" slurmd)
  done
  for _ in $(seq 300); do
    [ "$( (on 1 sinfo -h -N -t idle -o %N) 2>/dev/null | sort -u | wc -l)" = $hosts ] && return
    sleep 0.1
  done
  say "Slurm does not come up: see $dir/log"
}

down() {
  for pid in "$dir"/run/*.pid "$dir/munge/pid"; do alive "$pid" && kill "$(cat "$pid")" 2>/dev/null || true; done
  for signal in TERM KILL; do
    for i in $(seq $hosts); do
      for pid in $(ip netns pids "$prefix$i" 2>/dev/null); do kill -$signal "$pid" 2>/dev/null || true; done
    done
    [ $signal = KILL ] || sleep 0.3
  done
  for i in $(seq $hosts); do ip netns del "$prefix$i" 2>/dev/null || true; done
  ip netns del "${prefix}sw" 2>/dev/null || true
}

case $command in
check) check ;;
up) up ;;
hosts) chmod 755 "$dir" && make_hosts ;;
on) shift 2 && on "$@" ;;
cut) ip -n "${prefix}sw" link set "p$3" down ;;
join) ip -n "${prefix}sw" link set "p$3" up ;;
down) down ;;
*) say "unknown command $command" ;;
esac
