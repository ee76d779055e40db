#!/bin/sh
# The main job on real data: four years of daily weather in Seattle, through an instance of four brokers.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
output=$root/demo-output
mkdir -p "$output" || exit 1
exec "$root/bin/flux" start -s4 "$root/examples/forecast/workflow.sh" \
  "$root/node_modules/vega-datasets/data/seattle-weather.csv" "$output"
