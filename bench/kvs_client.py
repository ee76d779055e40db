"""
Times KVS calls and pings through the reference's Python bindings: the same client against any broker (FLUX_URI).

    kvs_client.py COUNT WARM_UP

The first WARM_UP puts of a fresh broker have a rate of their own: machine code for what a broker does often is made while
it does it. What is asked for later is what an instance gives that lives longer than a second or two.
"""

import json
import os
import statistics
import sys
import time

import flux
import flux.kvs

BIG_BYTES = 8 * 1024 * 1024
BIG_ROUNDS = 3

count = int(sys.argv[1])
warm_up = int(sys.argv[2])
handle = flux.Flux()


def rate(body, count=count):
    begin = time.perf_counter()
    for index in range(count):
        body(index)
    return count / (time.perf_counter() - begin)


def seconds(body):
    times = []
    for index in range(BIG_ROUNDS):
        begin = time.perf_counter()
        body(index)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def put(index):
    flux.kvs.put(handle, "bench.key%d" % (index % 100), index)
    flux.kvs.commit(handle)


def put_big(index):
    flux.kvs.put(handle, "bench.big%d" % index, values[index])
    flux.kvs.commit(handle)


values = [os.urandom(BIG_BYTES) for _ in range(BIG_ROUNDS)]
print(
    json.dumps(
        {
            "put1": rate(put, warm_up),
            "put": rate(put),
            "get": rate(lambda index: flux.kvs.get(handle, "bench.key%d" % (index % 100))),
            "ping": rate(lambda index: handle.rpc("kvs.ping", {"seq": index}).get()),
            "put8": seconds(put_big),
            "get8": seconds(lambda index: flux.kvs.get(handle, "bench.big%d" % index)),
        }
    )
)
