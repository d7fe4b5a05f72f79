"""Publishes on the Hub: `python push_to_hub.py {model,dataset,metric} PATH --repo-id ORG/NAME`; the same as `medllm push`."""

import atexit
import gc
import sys

from medllm_hf.errors import UserError, show_any_name, unreadable
from medllm_hf.hub.commands.push import push
from medllm_hf.tested_versions import watch

PROGRAM = "push_to_hub.py"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 a failed upload, 2 the user's mistake (one line on stderr)."""
    show_any_name()
    atexit.register(gc.freeze)  # as `medllm_hf.cli` does
    watch()
    try:
        return push(sys.argv[1:] if arguments is None else arguments, PROGRAM)
    except UserError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # no file or folder is at fault
            raise
        print(f"{PROGRAM}: {unreadable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; push again, what was sent is kept", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
