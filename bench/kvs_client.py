"""Times KVS calls and pings through the reference's Python bindings: the same client against any broker (FLUX_URI)."""

import json
import sys
import time

import flux
import flux.kvs

count = int(sys.argv[1])
handle = flux.Flux()


def rate(body):
    begin = time.perf_counter()
    for index in range(count):
        body(index)
    return count / (time.perf_counter() - begin)


def put(index):
    flux.kvs.put(handle, "bench.key%d" % (index % 100), index)
    flux.kvs.commit(handle)


print(
    json.dumps(
        {
            "put": rate(put),
            "get": rate(lambda index: flux.kvs.get(handle, "bench.key%d" % (index % 100))),
            "ping": rate(lambda index: handle.rpc("kvs.ping", {"seq": index}).get()),
        }
    )
)
