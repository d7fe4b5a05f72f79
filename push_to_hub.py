"""Publishes on the Hub: `python push_to_hub.py {model,dataset,metric} PATH --repo-id ORG/NAME [--dry-run]`."""

import argparse
import atexit
import gc
import os
import sys
from pathlib import Path

from medllm_hf.errors import OneLineParser, UserError, show_any_name, unreadable


def build_parser() -> OneLineParser:
    """The arguments; those of `model` alone say so."""
    description = "A model, a dataset or a metric → one commit on the Hub, after a plan and a question."
    parser = OneLineParser(prog="push_to_hub.py", description=description)
    parser.add_argument("kind", choices=["model", "dataset", "metric"])
    parser.add_argument(
        "path", metavar="PATH", help="folder of the weights and tokenizer, of `medllm data build`, or of a metric"
    )
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", default=True, help="only for you and ORG (default)")
    seen.add_argument("--public", dest="private", action="store_false", help="for everybody")
    parser.add_argument(
        "--eval-run", action="append", default=[], metavar="RUN", help="model: run folder of these weights; may be repeated"
    )
    parser.add_argument("--license", help="model: licence id of the weights, such as apache-2.0")
    parser.add_argument("--base-model", metavar="ORG/NAME", help="model: Hub id of the base model")
    parser.add_argument(
        "--dataset", action="append", default=[], metavar="ORG/NAME[=FOLDER]",
        help="model: what it was trained on; with the folder of `medllm data build` the card tells its licence and screening",
    )  # fmt: skip
    parser.add_argument(
        "--benchmark", action="append", default=[], metavar="RUN=ORG/DATASET#TASK",
        help="model: the Hub's registered benchmark that a run answers",
    )  # fmt: skip
    parser.add_argument("--adapter", action="store_true", help="model: PATH is a LoRA adapter, published as one")
    parser.add_argument("--out", metavar="DIR", help="model: repository folder to write (default: PATH-repository)")
    parser.add_argument("--overwrite", action="store_true", help="model: replace what the repository folder holds")
    parser.add_argument("--dry-run", action="store_true", help="check, write the folder, show the plan; upload nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before the upload")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 a failed upload, 2 the user's mistake (one line on stderr)."""
    show_any_name()
    atexit.register(gc.freeze)  # as `medllm_hf.cli` does
    options = build_parser().parse_args(arguments)
    from medllm_hf.tested_versions import watch

    watch()
    try:
        folder = write_model(options) if options.kind == "model" else options.path
        from medllm_hf.hub.checks import check_files
        from medllm_hf.hub.commands.push import push, show
        from medllm_hf.hub.repository import repository
        from medllm_hf.hub.upload import UploadError

        found = repository(options.kind, folder, options.repo_id)
        if options.kind != "model" or options.adapter:  # what `publish_model` writes is checked there
            check_files(found.files)
        try:
            if not options.dry_run:
                push(found, options.private, options.yes)
                return 0
            show(found, options.private)
            print(f"{folder}: nothing uploaded")
        except UploadError as error:
            print(f"push_to_hub.py: {error}", file=sys.stderr)
            return 1
    except UserError as error:
        print(f"push_to_hub.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # no file or folder is at fault
            raise
        print(f"push_to_hub.py: {unreadable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("push_to_hub.py: interrupted; push again, what was sent is kept", file=sys.stderr)
        return 1
    return 0


def _beside(path: str) -> str:
    """The repository folder of a model where none is named: beside it, whatever it is called by (`.`, `..`, a link)."""
    folder = Path(os.path.abspath(path))
    if folder.parent.resolve().is_relative_to(folder.resolve()):  # a link that lies in the model itself
        folder = folder.resolve()
    if not folder.name:
        raise UserError(f"the model {path}, which has no folder beside it", "--out", "name the repository folder")
    return str(folder.with_name(f"{folder.name}-repository"))


def write_model(options: argparse.Namespace) -> str:
    """The repository folder that was written for a model or an adapter.

    Raises:
        UserError: no licence, or what `publish_model` and `publish_adapter` refuse.
    """
    out = options.out or _beside(options.path)
    if not options.license:
        raise UserError("no --license", "the licence id of the weights", "add one, such as --license apache-2.0")
    if options.adapter:
        from medllm_hf.hub.adapter import publish_adapter

        if options.eval_run:
            raise UserError("--eval-run with --adapter", "runs of full weights", "merge, evaluate and publish the merged model")
        publish_adapter(options.path, options.repo_id, options.license, options.base_model, out, options.overwrite)
        return out
    from medllm_hf.folders import check_apart
    from medllm_hf.hub.publish import check_files as check_model_files
    from medllm_hf.hub.publish import publish_model

    check_apart(out, [options.path, *options.eval_run])
    size = sum(shard.stat().st_size for shard in check_model_files(Path(options.path)))
    # What follows reads all weights several times, and imports what takes seconds.
    print(f"checking {options.path}: {size:,} bytes of weights, runs: {', '.join(options.eval_run) or 'none'}", flush=True)
    parts = {"datasets": options.dataset, "benchmarks": options.benchmark}
    where = {"out": out, "overwrite": options.overwrite}
    publish_model(options.path, options.repo_id, options.eval_run, options.license, options.base_model, **where, **parts)
    return out


if __name__ == "__main__":
    sys.exit(main())
