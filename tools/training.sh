#!/bin/sh
# What users run most, short or long: tools/bundle.mjs runs this in an instance, and keeps what V8 compiles meanwhile.
PATH=$(dirname -- "$0")/../bin:$PATH
exec >/dev/null
flux kvs put training.a=1 training.b=2
flux kvs get training.a
flux resource list
flux submit --cc=1-3 --wait true
flux run hostname
flux jobs -a
[ "$1" = long ] || exit 0
id=$(flux submit sleep 100)
flux jobs
flux cancel "$id"
id=$(flux submit -n2 echo hello)
flux job attach "$id"
flux job wait-event "$id" clean
flux job info "$id" R
flux kvs dir training
flux kvs ls training
flux bulksubmit --wait echo {} ::: 1 2
id=$(flux batch -n1 --output=/dev/null --wrap true)
flux job attach "$id"
flux queue list
flux overlay status
flux exec true
flux getattr size
flux module list
