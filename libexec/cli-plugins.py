"""Runs users' plugins of the commands that submit jobs: `flux submit`, `run`, `bulksubmit`, `batch` and `alloc`.

The command reads its line and submits; this program holds the plugins. It loads them, tells the command of their options,
and calls them before a jobspec is made (`preinit`) and when it is (`modify_jobspec`). Both speak JSON, one object a line,
over the socket whose number is in FLUX_CLI_PLUGINS_FD.

Plugins find their base class in the module `flux.cli.plugin`. The rest of the package `flux` is the user's Python bindings,
where there are any.
"""

import argparse
import contextlib
import importlib.util
import inspect
import io
import json
import os
import socket
import stat
import sys
import types


class CLIPlugin:
    """What plugins derive from. Methods that a plugin does not have do nothing."""

    def __init__(self, prog, prefix="ex", version=None):
        self.prog = prog
        self.prefix = prefix
        self.version = version
        self.options = []

    def add_option(self, name, **kwargs):
        """Adds a long option to the command; its name gets the plugin's prefix."""
        if not name.startswith("--"):
            raise ValueError("Plugins must register only long options.")
        self.options.append(Option(name[2:], self.prefix, kwargs))

    def preinit(self, args):
        """Called when options are read, before the jobspec is made."""

    def modify_jobspec(self, args, jobspec):
        """Called when the jobspec is made, before it is submitted."""

    def validate(self, jobspec):
        """Called by who validates jobs."""

    def help(self, option):
        """Prints what `--help=OPTION` shows."""
        print(inspect.getdoc(self) or "")


class Option:
    """An option of a plugin, described as for argparse."""

    def __init__(self, plain, prefix, arguments):
        self.name = f"{prefix}-{plain}" if prefix else plain
        self.arguments = dict(arguments)
        self.dest = self.arguments.get("dest") or self.name.replace("-", "_")
        #: The name without prefix, by which the plugin itself may ask for it.
        self.alias = None if "dest" in self.arguments else plain.replace("-", "_")
        self.action = self.arguments.get("action", "store")

    @property
    def takes_value(self):
        return self.action in ("store", "append")

    def describe(self):
        """What the command needs to know to read the option and to show it in its help."""
        choices = self.arguments.get("choices")
        metavar = self.arguments.get("metavar")
        if metavar is None:
            metavar = "{%s}" % ",".join(map(str, choices)) if choices else self.dest.upper()
        text = self.arguments.get("help") or ""
        with contextlib.suppress(KeyError, TypeError, ValueError):
            text = text % {"default": None, **self.arguments, "dest": self.dest}
        return {
            "name": self.name,
            "help": text,
            "argument": metavar if self.takes_value else None,
            "optional": self.arguments.get("nargs") == "?",
            "integer": self.arguments.get("type") is int,
            "choices": [str(choice) for choice in choices] if choices else None,
        }

    def value(self, given):
        """What the arguments given on a command line come to."""
        default = self.arguments.get("default")
        if self.action == "store_true":
            return bool(given) or bool(default)
        if self.action == "store_false":
            return not given and default is not False
        if self.action == "store_const":
            return self.arguments.get("const") if given else default
        if self.action == "count":
            return (default or 0) + len(given) if given else default
        if not given:
            return default
        values = [self.arguments.get("const") if text is None else self.convert(text) for text in given]
        return [*(default or []), *values] if self.action == "append" else values[-1]

    def convert(self, text):
        kind = self.arguments.get("type", str)
        try:
            return kind(text)
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"argument --{self.name}: {error}") from None
        except (TypeError, ValueError):
            name = getattr(kind, "__name__", str(kind))
            raise ValueError(f"argument --{self.name}: invalid {name} value: {text!r}") from None


class Arguments:
    """The options as a plugin sees them: its own by their names with and without prefix."""

    def __init__(self, namespace, plugin):
        self.__dict__["_namespace"] = namespace
        self.__dict__["_aliases"] = {option.alias: option.dest for option in plugin.options if option.alias}

    def __getattr__(self, name):
        return getattr(self._namespace, self._aliases.get(name, name))

    def __setattr__(self, name, value):
        setattr(self._namespace, self._aliases.get(name, name), value)


class Configuration:
    """The configuration of an instance that `flux batch` or `flux alloc` starts."""

    def __init__(self):
        self.added = []

    def update(self, value):
        """Adds what `--conf` takes, or a dictionary."""
        self.added.append(value if isinstance(value, str) else json.dumps(value) + "\n")


def descend(tree, words):
    """The dictionary in which the last word is a key; those on the way are made."""
    for word in words[:-1]:
        tree = tree.setdefault(word, {})
    return tree, words[-1]


def _of_system(key, default=None):
    """A property that is the system attribute of this name."""
    return property(
        lambda self: self._system.get(key, default),
        lambda self, value: self._system.__setitem__(key, value),
    )


class Jobspec:
    """A jobspec (RFC 14) with the methods by which plugins change it."""

    def __init__(self, jobspec):
        self.jobspec = jobspec

    attributes = property(lambda self: self.jobspec["attributes"])
    resources = property(lambda self: self.jobspec["resources"])
    tasks = property(lambda self: self.jobspec["tasks"])
    version = property(lambda self: self.jobspec["version"])

    @property
    def _system(self):
        return self.attributes.setdefault("system", {})

    @property
    def environment(self):
        return self._system.setdefault("environment", {})

    @environment.setter
    def environment(self, value):
        self._system["environment"] = value

    cwd = _of_system("cwd")
    duration = _of_system("duration", 0)
    queue = _of_system("queue")

    def setattr(self, key, val):
        """Sets an attribute: of the system unless the key says otherwise (`user.x`, `.x`)."""
        words = key.removeprefix("attributes.").split(".")
        if words[0] == "":
            words = words[1:]
        elif words[0] not in ("system", "user"):
            words = ["system", *words]
        where, last = descend(self.attributes, words)
        where[last] = val

    def setattr_shell_option(self, key, val):
        self.setattr(f"system.shell.options.{key}", val)

    def getattr(self, key):
        """An attribute, by `system.duration` or `attributes.system.duration`. Raises KeyError."""
        value = self.attributes
        for word in key.removeprefix("attributes.").split("."):
            value = value[word]
        return value

    def add_file(self, path, data, perms=None, encoding=None):
        """Adds a file: a dictionary, a text, or what is in a local file."""
        entry = {"mode": stat.S_IFREG | (perms or 0o600), "data": data}
        if isinstance(data, str) and encoding is None and "\n" not in data:
            with open(data, encoding="utf-8") as file:
                entry["data"] = file.read()
            entry["mode"] = stat.S_IFREG | (perms or stat.S_IMODE(os.stat(data).st_mode))
        if isinstance(entry["data"], str):
            entry["encoding"] = encoding or "utf-8"
        self._system.setdefault("files", {})[path] = entry

    def dumps(self, **kwargs):
        return json.dumps(self.jobspec, **kwargs)


class Registry:
    """The plugins of a command."""

    def __init__(self, prog):
        self.prog = prog
        self.plugins = []

    def load(self, paths):
        """Loads files; tells what plugins they have."""
        for number, path in enumerate(paths):
            spec = importlib.util.spec_from_file_location(f"cli_plugin_{number}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for _, found in inspect.getmembers(module, inspect.isclass):
                if issubclass(found, CLIPlugin) and found is not CLIPlugin:
                    self.plugins.append((path, found(self.prog)))
        return [
            {
                "name": type(plugin).__name__,
                "path": path,
                "options": [{**option.describe(), "text": text_of(plugin, option)} for option in plugin.options],
            }
            for path, plugin in self.plugins
        ]

    def _namespace(self, values, given):
        namespace = argparse.Namespace(**values)
        if self.prog in ("batch", "alloc"):
            namespace.conf = Configuration()
        for _, plugin in self.plugins:
            for option in plugin.options:
                setattr(namespace, option.dest, option.value([value for name, value in given if name == option.name]))
        return namespace

    def preinit(self, values, given):
        """Has plugins see options, and tells what they have changed."""
        namespace = self._namespace(values, given)
        for _, plugin in self.plugins:
            plugin.preinit(Arguments(namespace, plugin))
        before = json.loads(json.dumps(self._namespace(values, given).__dict__, default=lambda _: None))
        own = {option.dest for _, plugin in self.plugins for option in plugin.options}
        after = {name: value for name, value in namespace.__dict__.items() if name != "conf" and name not in own}
        return {
            "changed": {name: value for name, value in after.items() if name in before and value != before[name]},
            "conf": namespace.conf.added if hasattr(namespace, "conf") else [],
        }

    def modify(self, values, given, jobspec):
        """Has plugins change a jobspec."""
        namespace = self._namespace(values, given)
        made = Jobspec(jobspec)
        for _, plugin in self.plugins:
            plugin.modify_jobspec(Arguments(namespace, plugin), made)
        return made.jobspec


def text_of(plugin, option):
    """What a plugin prints as help."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        plugin.help(f"--{option.name}")
    return printed.getvalue()


def serve(lines, write, registry):
    """Does what the command asks for, until it closes the channel."""
    for line in lines:
        order = json.loads(line)
        try:
            method = {"load": registry.load, "preinit": registry.preinit, "modify": registry.modify}[order.pop("do")]
            result = {"done": method(**order)}
        except Exception as error:  # pylint: disable=broad-except
            result = {"failed": str(error) or type(error).__name__}
        sys.stdout.flush()
        write(result)


def main():
    sys.dont_write_bytecode = True
    channel = socket.socket(fileno=int(os.environ.pop("FLUX_CLI_PLUGINS_FD")))
    os.set_inheritable(channel.fileno(), False)
    offered = types.ModuleType("flux.cli.plugin")
    offered.CLIPlugin = CLIPlugin
    sys.modules["flux.cli.plugin"] = offered
    lines = channel.makefile("r", encoding="utf-8", newline="\n")
    serve(lines, lambda value: channel.sendall((json.dumps(value) + "\n").encode()), Registry(sys.argv[1]))


if __name__ == "__main__":
    main()
