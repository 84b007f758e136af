"""The command line: arguments in, an exit code out. Only this package knows all others; its commands parse, build and
run."""

from __future__ import annotations

import errno
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from types import TracebackType

from framecap.cli.parser import make_parser
from framecap.errors import FramecapError, MissingError

_OUTPUT_LOST = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a store's errors are FramecapErrors
_STANDARD_STREAMS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The `framecap` command; its exit code."""
    _open_closed_streams()
    sys.excepthook = _show_masked
    threading.excepthook = lambda details: _show_masked(details.exc_type, details.exc_value, details.exc_traceback)
    options = make_parser().parse_args(arguments)
    try:
        exit_code: int = options.run(options)
        sys.stdout.flush()
    except FramecapError as error:
        from framecap.telemetry import mask

        print(f"framecap: {mask(str(error))}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:  # a package, or a system library of one
        print(f"framecap: {error}: this installation is not whole: pip install --force-reinstall framecap", file=sys.stderr)
        return MissingError.exit_code
    except KeyboardInterrupt:
        print("framecap: interrupted", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_LOST:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # there is nobody to flush the rest to
        if error.errno != errno.EPIPE:  # else whoever read our output has seen enough
            print(f"framecap: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    return exit_code


def _open_closed_streams() -> None:
    """Whoever started us may have closed them: what is opened next must not take their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD_STREAMS:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _show_masked(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """An exception that nobody expected, without the credentials that may stand in it."""
    from framecap.telemetry import mask

    print(mask("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
