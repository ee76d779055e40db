"""A client that knows nothing of pieces: puts and gets values of so many MiB as single messages (FLUX_URI).

Arguments: KEY MIB SECONDS. Prints one line of JSON: the mean seconds of a put with its commit and of a get.
"""

import json
import os
import resource
import sys
import time

import flux
import flux.kvs

key, mib, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
handle = flux.Flux()
end = time.perf_counter() + seconds
puts, gets = [], []
while not puts or time.perf_counter() < end:
    value = os.urandom(mib * 1024 * 1024)
    begin = time.perf_counter()
    flux.kvs.put(handle, key, value, raw=True)
    flux.kvs.commit(handle)
    puts.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    answer = handle.rpc("kvs.lookup", {"key": key, "flags": 0, "namespace": "primary"})
    answer.get_str()
    gets.append(time.perf_counter() - begin)
print(
    json.dumps(
        {
            "put": sum(puts) / len(puts),
            "get": sum(gets) / len(gets),
            "count": len(puts),
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
