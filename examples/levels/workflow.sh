#!/bin/sh
# flux: --job-name=levels
# A workflow of as many levels as one likes, in one script: each instance of Flux halves its work, starts an instance of its
# own for each half, and adds up what they find. The innermost instances run a parallel program.
#
# It runs unchanged wherever an instance can be started:
#
#   flux start -s4 examples/levels/workflow.sh             on this machine
#   srun -N4 -n4 flux start examples/levels/workflow.sh    in Slurm, with or without --mpi=pmi2
#   mpiexec -n 4 flux start examples/levels/workflow.sh    under MPICH's Hydra
#   flux batch -N4 examples/levels/workflow.sh             in another instance of Flux
#
# Arguments: levels (3), first and last number (1 and 1000) whose squares are added.
set -eu
levels=${1:-3} first=${2:-1} last=${3:-1000}
level=$(flux getattr instance-level)
export TOP_LEVEL="${TOP_LEVEL:-$level}"

cores=$(flux resource list -s up -no '{ncores}')
if [ "$levels" -le 1 ]; then
  # Each task takes the numbers that are its rank modulo the number of tasks.
  sum=$(flux run -n"$cores" awk -v first="$first" -v last="$last" 'BEGIN {
      for (i = first + ENVIRON["FLUX_TASK_RANK"]; i <= last; i += ENVIRON["FLUX_JOB_SIZE"]) sum += i * i
      printf "%d\n", sum
    }' | awk '{ sum += $1 } END { printf "%d\n", sum }')
else
  half=$((cores > 1 ? cores / 2 : 1))
  middle=$(((first + last) / 2))
  left=$(flux batch -n"$half" --output=none "$0" $((levels - 1)) "$first" "$middle")
  right=$(flux batch -n"$half" --output=none "$0" $((levels - 1)) $((middle + 1)) "$last")
  sum=0
  for id in "$left" "$right"; do
    # A failure below is one here.
    flux job status "$id" || {
      echo "level $level: $id failed" >&2
      flux job attach "$id" >&2 || true
      exit 1
    }
    sum=$((sum + $(flux job info "$id" guest.sum)))
  done
fi

# What was found goes into the enclosing instance, where this one is a job of it; the outermost prints it.
if [ "$level" -gt "$TOP_LEVEL" ]; then
  flux --parent kvs put sum="$sum"
else
  echo "levels=$levels size=$(flux getattr size) sum=$sum"
fi
