"""`medllm push` and `push_to_hub.py`: a model, a dataset or a metric → one commit on the Hub."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import OneLineParser, UserError

if TYPE_CHECKING:  # the client of the Hub, which no help text needs
    from medllm_hf.hub.repository import Repository

VERB = "medllm push"


def build_parser(program: str = VERB) -> OneLineParser:
    """The arguments; those of `model` alone say so."""
    description = "A model, a dataset or a metric → one commit on the Hub, after a plan and a question."
    parser = OneLineParser(prog=program, description=description)
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
    parser.add_argument(
        "--card-section", metavar="FILE", help="model: Markdown in your own words for the card: authors, contact, intended use"
    )
    parser.add_argument("--adapter", action="store_true", help="model: PATH is a LoRA adapter, published as one")
    parser.add_argument("--out", metavar="DIR", help="model: repository folder to write (default: PATH-repository)")
    parser.add_argument("--overwrite", action="store_true", help="model: replace what the repository folder holds")
    parser.add_argument("--dry-run", action="store_true", help="check, write the folder, show the plan; upload nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask before the upload")
    return parser


def push(arguments: list[str], program: str = VERB) -> int:
    """Writes the repository folder of a model, or takes that of a dataset or metric as it is, and uploads it after a question.

    The exit code is 0 when it is done, 1 after a failed upload.

    Raises:
        UserError: the user's mistake.
    """
    options = build_parser(program).parse_args(arguments)
    folder = write_model(options) if options.kind == "model" else options.path
    from medllm_hf.hub.checks import check_files
    from medllm_hf.hub.repository import repository
    from medllm_hf.hub.upload import UploadError

    found = repository(options.kind, folder, options.repo_id)
    if options.kind != "model" or options.adapter:  # what `publish_model` writes is checked there
        check_files(found.files)
    try:
        if not options.dry_run:
            push_plan(found, options.private, options.yes)
            return 0
        show(found, options.private)
        print(f"{folder}: nothing uploaded")
    except UploadError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; push again, what was sent is kept", file=sys.stderr)
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


def read_section(options: argparse.Namespace) -> str | None:
    """The publisher's own words for the card: those of `--card-section`, else those of the repository folder there is.

    Raises:
        UserError: no such file, or one that is no text.
    """
    from medllm_hf.folders import read_text
    from medllm_hf.hub.cards import own_words

    if options.card_section:
        return read_text(options.card_section, 1 << 20).strip("\n")
    before = Path(options.out or _beside(options.path)) / "README.md"
    return own_words(read_text(before)) if before.is_file() else None


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
    parts = {"datasets": options.dataset, "benchmarks": options.benchmark, "section": read_section(options)}
    where = {"out": out, "overwrite": options.overwrite}
    publish_model(options.path, options.repo_id, options.eval_run, options.license, options.base_model, **where, **parts)
    return out


def push_plan(repository: "Repository", private: bool, yes: bool) -> None:
    """Shows what would change, asks, and makes it so in one commit; a push of what is there already sends nothing.

    Args:
        private: the visibility that is wanted; of a repository that exists, the one that it must have.
        yes: do not ask.

    Raises:
        UserError: no token, or one without the right; another visibility; metadata that the Hub refuses; nobody to ask.
        UploadError: see `send_plan`; or the user does not agree.
    """
    from medllm_hf.hub.plan import make_plan, plan_lines
    from medllm_hf.hub.upload import check_visibility, read_hub, send_plan

    there = read_hub(repository, writing=True)
    plan = make_plan(repository, private, there)
    print("\n".join(plan_lines(plan)))
    check_visibility(plan)
    if there and not plan.sent and not plan.removed:
        print(f"nothing to send: {repository.name} has it all at commit {there.commit}")
        return
    confirm(yes)
    commit = send_plan(plan)
    print(f"pushed {len(plan.sent)} files to {repository.name}, commit {commit}; read back, all hashes equal")


def show(repository: "Repository", private: bool) -> None:
    """Prints the plan and sends nothing; where the Hub cannot be asked, everything counts as new and the reason is said."""
    from medllm_hf.hub.plan import make_plan, plan_lines
    from medllm_hf.hub.upload import UploadError, check_visibility, read_hub

    there = None
    try:
        there = read_hub(repository, writing=False)
    except (UserError, UploadError) as error:
        print(f"not compared with the Hub: {error}")
    plan = make_plan(repository, private, there)
    print("\n".join(plan_lines(plan)))
    check_visibility(plan)


def confirm(yes: bool) -> None:
    """Check that the user agrees.

    Raises:
        UserError: nobody is there to ask, and `yes` is false.
        UploadError: the user does not agree.
    """
    from medllm_hf.hub.upload import UploadError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("no terminal to ask on", "--yes", "read the plan and add it")
    try:
        answer = input("Upload? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UploadError("not confirmed, nothing uploaded")
