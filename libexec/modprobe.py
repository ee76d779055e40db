"""Runs Python rc files for `flux modprobe`, which started this program.

`flux modprobe` decides what runs and when, loads modules and speaks with the broker. This program holds the functions of
the rc files: it reads files, runs one function at a time, and asks `flux modprobe` for everything that concerns the
broker. Both speak JSON, one object a line, over the socket whose number is in FLUX_MODPROBE_FD.

Rc files find what they need in the module `flux.modprobe`: the decorator `task` and the class `Context`. The rest of the
package `flux` is the user's Python bindings, where there are any; without them only `Context.handle` is missing.
"""

import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import types

TASK_ARGUMENTS = frozenset(
    "ranks requires needs provides before after needs_attrs needs_config needs_env args disabled priority".split()
)

_tasks = {}
_setups = []
_found = []


def task(name, **arguments):
    """Declares a function as the task `name`. The function is called with a Context."""
    for argument in arguments:
        if argument not in TASK_ARGUMENTS:
            raise ValueError(f"{name}: unknown task argument {argument}")
    for here, there in (("before", "after"), ("after", "before")):
        if "*" in arguments.get(here, ()) and arguments.get(there):
            raise ValueError(f'{name}: {here}=["*"] leaves no room for {there}')

    def declare(function):
        _tasks[name] = function
        _found.append({"name": name, **arguments})
        return function

    return declare


class Channel:
    """The way to `flux modprobe`: lines of JSON in both directions."""

    def __init__(self, descriptor):
        self._socket = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\n")

    def read(self):
        line = self._lines.readline()
        return json.loads(line) if line else None

    def write(self, value):
        self._socket.sendall((json.dumps(value) + "\n").encode())

    def ask(self, call, **arguments):
        """Has `flux modprobe` do something and returns its answer. Raises what it failed with."""
        self.write({"call": call, **arguments})
        answer = self.read()
        if answer is None:
            raise OSError("flux modprobe has gone")
        if "error" in answer:
            number = answer.get("errnum")
            raise OSError(number, answer["error"]) if number else ValueError(answer["error"])
        return answer.get("value")


class Answer:
    """The answer to a remote procedure call: it has arrived already."""

    def __init__(self, value, error):
        self._value = value
        self._error = error

    def get(self):
        if self._error is not None:
            raise self._error
        return self._value

    def get_str(self):
        return json.dumps(self.get())

    def is_ready(self):
        return True

    def wait_for(self, timeout=-1.0):
        return self

    def then(self, callback, *args, **kwargs):
        callback(self, *args, **kwargs)
        return self


class Context:
    """What the functions of rc files know of the broker, of the modules, and of each other."""

    def __init__(self, channel, rank, verbose):
        self._channel = channel
        self._handle = None
        self._data = {}
        self._environment = {}
        self.rank = rank
        self.verbose = verbose

    def print(self, *args):
        """Prints where `flux modprobe` is verbose."""
        if self.verbose:
            print(*args, file=sys.stderr, flush=True)

    @property
    def handle(self):
        """A handle of the Python bindings, opened when first asked for."""
        if self._handle is None:
            bindings = sys.modules.get("flux")
            if not hasattr(bindings, "Flux"):
                raise ImportError("context.handle needs Flux's Python bindings on PYTHONPATH")
            self._handle = bindings.Flux()
        return self._handle

    def set(self, key, value):
        self._data[key] = value

    def get(self, key, default=None):
        return self._data.get(key, default)

    def attr_get(self, attr, default=None):
        value = self._channel.ask("attr-get", name=attr)
        return default if value is None else value

    def conf_get(self, key, default=None):
        value = self._channel.ask("config-get", key=key)
        return default if value is None else value

    def rpc(self, topic, payload=None, nodeid=None, flags=0):
        """Calls a method. What it failed with is raised by the `get()` of what this returns."""
        try:
            return Answer(self._channel.ask("rpc", topic=topic, payload=payload, nodeid=nodeid), None)
        except OSError as error:
            return Answer(None, error)

    def setopt(self, module, options, overwrite=False):
        self._channel.ask("set-options", module=module, options=options.split(), overwrite=overwrite)

    def getopts(self, name, default=None, also=None):
        options = self._channel.ask("get-options", modules=[name, *(also or [])])
        return options if options or default is None else default

    def bash(self, command):
        """Runs a command line of bash. Raises RuntimeError where it fails."""
        sys.stdout.flush()
        code = subprocess.run(["bash", "-c", command], check=False).returncode
        if code > 0:
            raise RuntimeError(f"bash: exited with exit status {code}")
        if code < 0:
            raise RuntimeError(f"bash: died by signal {-code}")

    def load_modules(self, modules):
        self._channel.ask("load-modules", modules=list(modules))

    def remove_modules(self, modules=None):
        self._channel.ask("remove-modules", modules=None if modules is None else list(modules))

    def set_alternative(self, name, alternative):
        self._channel.ask("choose", service=name, name=alternative)

    def enable(self, name):
        self._channel.ask("enable", name=name)

    def disable(self, name):
        self._channel.ask("disable", name=name)

    def getenv(self, var, default=None):
        if var in os.environ:
            return os.environ[var]
        if var not in self._environment:
            answer = self.rpc("broker.getenv", {"names": [var]}).get()
            self._environment[var] = answer.get("env", {}).get(var)
        value = self._environment[var]
        return default if value is None else value

    def setenv(self, name_or_env, value=None):
        env = name_or_env if isinstance(name_or_env, dict) else {name_or_env: value}
        for name, text in env.items():
            if text is not None and not isinstance(text, str):
                raise ValueError(f"setenv: the value of {name} must be a string or None")
        self.rpc("broker.setenv", {"env": env}).get()
        for name, text in env.items():
            self._environment[name] = text
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text


def offer_package():
    """Makes `from flux.modprobe import task` find this program."""
    offered = types.ModuleType("flux.modprobe")
    offered.task = task
    offered.Context = Context
    try:
        package = importlib.import_module("flux")
    except ImportError:
        package = types.ModuleType("flux")
        package.__path__ = []
        sys.modules["flux"] = package
    package.modprobe = offered
    sys.modules["flux.modprobe"] = offered


def read_file(path):
    """Runs an rc file and tells what it declares."""
    _found.clear()
    spec = importlib.util.spec_from_file_location(f"rc_{len(_setups)}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _setups.append(getattr(module, "setup", None))
    return list(_found)


def serve(channel, context):
    """Does what `flux modprobe` asks for, until it closes the channel."""
    while True:
        order = channel.read()
        if order is None:
            return
        try:
            value = None
            if order["do"] == "read":
                value = read_file(order["path"])
            elif order["do"] == "setup":
                for function in filter(None, _setups):
                    function(context)
            else:
                _tasks[order["name"]](context)
            result = {"done": value}
        except Exception as error:  # pylint: disable=broad-except
            result = {"failed": str(error) or type(error).__name__}
        sys.stdout.flush()
        channel.write(result)


def main():
    sys.dont_write_bytecode = True
    channel = Channel(int(os.environ.pop("FLUX_MODPROBE_FD")))
    offer_package()
    serve(channel, Context(channel, int(sys.argv[1]), sys.argv[2] == "verbose"))


if __name__ == "__main__":
    main()
