"""flux module-python-exec PATH: runs a broker module that is written in Python (RFC 5).

Started by the broker, with the channel to it in FLUX_MODULE_URI. It needs the Python bindings of Flux, which are the
user's: PYTHONPATH says where they are. The module has a function `mod_main(handle, *arguments)`, or one subclass of
`flux.brokermod.BrokerModule`.
"""

import errno
import os
import sys
import traceback

PREFIX = "flux-module-python-exec.py: "


def main(path):
    try:
        from _flux._core import ffi, lib
        import flux
        from flux.brokermod import resolve_entry_point
        from flux.importer import import_path
    except ImportError as error:
        sys.exit(f"{PREFIX}{path}: the Python bindings of Flux are needed (PYTHONPATH): {error}")

    failure = ffi.new("flux_error_t *")

    def check(result):
        if result < 0:
            sys.exit(PREFIX + ffi.string(failure.text).decode(errors="replace"))

    handle = flux.Flux(os.environ["FLUX_MODULE_URI"])
    words = ffi.new("char **")
    check(lib.flux_module_initialize(handle.handle, words, failure))
    check(lib.flux_module_register_handlers(handle.handle, failure))
    arguments = ffi.string(words[0]).decode().split() if words[0] else []
    try:
        entry = resolve_entry_point(import_path(path))
    except ValueError as error:
        sys.exit(f"{PREFIX}{path}: {error}")
    errnum = 0
    try:
        entry(handle, *arguments)
    except OSError as error:
        errnum = error.errno or errno.ECONNRESET
    except Exception:
        traceback.print_exc()
        errnum = errno.ECONNRESET
    check(lib.flux_module_finalize(handle.handle, errnum, failure))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{PREFIX}Usage: flux-module-python-exec.py PATH")
    if "FLUX_MODULE_URI" not in os.environ:
        sys.exit(f"{PREFIX}FLUX_MODULE_URI is not set: use flux module load")
    main(sys.argv[1])
