"""What an orchestrator does through flux-core's Python bindings, the way Maestro's adapter does: a new connection for each
round, nested jobs made by from_nest_command, output named by {{id}}, states asked for by id, urgencies, cancel.

Prints one JSON object of what it saw.
"""
import json
import os
import sys
import time

import flux
import flux.job
from flux.job import JobspecV1


def connect():
    handle = flux.Flux()
    handle.attr_get("version")
    handle.rpc("config.get").get()
    return handle


def spec(directory, name, command, nested):
    if nested:
        script = os.path.join(directory, name + ".flux.sh")
        with open(script, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\n#INFO (nodes) 1\n\n" + command + "\n")
        os.chmod(script, 0o700)
        jobspec = JobspecV1.from_nest_command([script], num_nodes=1, cores_per_slot=1, num_slots=1)
    else:
        jobspec = JobspecV1.from_command(["sh", "-c", command], num_tasks=1)
    jobspec.setattr("system.job.name", name)
    jobspec.cwd = directory
    jobspec.environment = dict(os.environ)
    jobspec.duration = 60
    jobspec.stdout = name + ".{{id}}.out"
    jobspec.stderr = name + ".{{id}}.err"
    return jobspec


def status(handle, ids):
    jobs = flux.job.list.JobList(handle, ids=[flux.job.JobID(each) for each in ids]).jobs()
    return {job.name: job.status_abbrev for job in jobs}


def main():
    directory = sys.argv[1]
    handle = connect()
    steps = {
        "plain": spec(directory, "plain", "echo plain", False),
        "nested": spec(directory, "nested", "flux run -n 1 -N 1 -c 1 echo nested > nested.txt; flux getattr instance-level", True),
        "fails": spec(directory, "fails", "flux run -n 1 sh -c 'echo no >&2; exit 3'", True),
        "held": spec(directory, "held", "true", False),
        "long": spec(directory, "long", "sleep 1000", False),
    }
    ids = {}
    for name, jobspec in steps.items():
        urgency = 0 if name == "held" else 16
        ids[name] = flux.job.submit(handle, jobspec, urgency=urgency, waitable=True)
    rounds = 0
    canceled = False
    seen = {}
    deadline = time.time() + 60
    while time.time() < deadline:
        # A round of a conductor: it connects anew each time.
        handle = connect()
        rounds += 1
        seen = status(handle, list(ids.values()))
        if not canceled and seen.get("long") == "R":
            flux.job.cancel(handle, ids["long"])
            flux.job.cancel(handle, ids["held"])
            canceled = True
        if all(state in ("CD", "F", "CA", "TO") for state in seen.values()):
            break
        time.sleep(0.05)
    f58 = {name: flux.job.JobID(each).f58 for name, each in ids.items()}
    print(json.dumps({"status": seen, "ids": f58, "rounds": rounds}))


main()
