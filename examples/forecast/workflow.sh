#!/bin/bash
# The initial program of the example: an ensemble of forecasts with a parameter sweep, as a plain batch script.
#
#     flux start -s4 examples/forecast/workflow.sh DATA.csv OUTPUT-DIRECTORY
set -euo pipefail
data=$1
output=$2
here=$(cd "$(dirname "$0")" && pwd)
node=$here/../../bin/node

echo "An instance of $(flux getattr size) brokers:"
flux resource list

# 1. Split the data by year into the KVS.
flux run --job-name=split "$node" "$here/split.mjs" "$data"

# 2. The ensemble: 64 parameter sets, a job each, a task per year.
members=$(flux submit --cc=1-64 -n4 --job-name=member "$node" "$here/member.mjs" {cc})

# 3. A member whose parameters do not exist fails; a job that depends on the failure reports it.
bad=$(flux submit -n4 --job-name=bad-member --error=none "$node" "$here/member.mjs" 65)
rescue=$(flux submit --dependency=afternotok:"$bad" --job-name=rescue echo "member 65 ($bad) failed: it has no parameter set")

# 4. The aggregation starts when all members have succeeded.
after=$(for id in $members; do printf -- '--dependency=afterok:%s ' "$id"; done)
# shellcheck disable=SC2086
aggregate=$(flux submit $after --job-name=aggregate "$node" "$here/aggregate.mjs" "$output/forecast.svg")

"$node" "$here/progress.mjs" $members
flux job attach "$rescue"
flux job attach "$aggregate"
echo "Chart: $output/forecast.svg"
flux jobs --filter=failed
