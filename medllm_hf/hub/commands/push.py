"""`medllm push` and `push_to_hub.py`: a model, a dataset or a metric → one commit on the Hub."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from medllm_hf.errors import OneLineParser, UserError

if TYPE_CHECKING:  # the client of the Hub, which no help text needs
    from medllm_hf.hub.repository import Repository
    from medllm_hf.hub.standing_card import Standing

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
    parser.add_argument(
        "--base-run", action="append", default=[], metavar="RUN",
        help="model: exam of the base model like one of --eval-run; the card compares them question by question",
    )  # fmt: skip
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
    parser.add_argument(
        "--samples", action="store_true", help="model: ask it for two sample dialogues (else those of a consult run are shown)"
    )
    parser.add_argument(
        "--replace-card", action="store_true", help="lose what was edited in the card on the Hub outside of its marks"
    )
    lora = parser.add_mutually_exclusive_group()
    lora.add_argument("--adapter", action="store_true", help="model: PATH is a LoRA adapter, published as one")
    lora.add_argument(
        "--merge", action="store_true", help="model: PATH is a LoRA adapter, merged first and published as full weights"
    )
    parser.add_argument("--base", metavar="MODEL", help="model: with --merge, the base of the adapter (default: what it names)")
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
    from medllm_hf.hub.standing_card import ShownError
    from medllm_hf.hub.upload import UploadError

    try:
        return _push(options)
    except ShownError as error:
        print("\n".join(error.lines), flush=True)
        raise error.error from error
    except UploadError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; push again, what was sent is kept", file=sys.stderr)
        return 1


def _push(options: argparse.Namespace) -> int:
    from medllm_hf.hub.checks import check_files
    from medllm_hf.hub.repository import repository

    whole = options.kind == "model" and not options.adapter  # what `publish_model` writes is checked and merged there
    folder = write_model(options) if options.kind == "model" else options.path
    found = repository(options.kind, folder, options.repo_id)
    if not whole:
        check_files(found.files)
    replace = options.replace_card or whole
    if options.dry_run:
        show(found, options.private, replace)
        print(f"{folder}: nothing uploaded")
    else:
        push_plan(found, options.private, options.yes, replace)
    return 0


def _beside(path: str) -> str:
    """The repository folder of a model where none is named: beside it, whatever it is called by (`.`, `..`, a link)."""
    folder = Path(os.path.abspath(path))
    if folder.parent.resolve().is_relative_to(folder.resolve()):  # a link that lies in the model itself
        folder = folder.resolve()
    if not folder.name:
        raise UserError(f"the model {path}, which has no folder beside it", "--out", "name the repository folder")
    return str(folder.with_name(f"{folder.name}-repository"))


def read_section(options: argparse.Namespace, out: str) -> str | None:
    """The publisher's own words for the card: those of `--card-section`, else those of the repository folder there is.

    Raises:
        UserError: no such file, or one that is no text.
    """
    from medllm_hf.folders import read_text
    from medllm_hf.hub.cards import own_words

    if options.card_section:
        return read_text(options.card_section, 1 << 20).strip("\n")
    before = Path(out) / "README.md"
    return own_words(read_text(before)) if before.is_file() else None


def write_model(options: argparse.Namespace) -> str:
    """The repository folder that was written for a model or an adapter; one of an earlier push is replaced.

    Raises:
        UserError: no licence, or what `publish_model` and `publish_adapter` refuse.
        ShownError: a card that was edited outside of its marks, here or on the Hub.
    """
    from medllm_hf.hub.standing_card import is_replaceable

    out = options.out or _beside(options.path)
    if not options.license:
        raise UserError("no --license", "the licence id of the weights", "add one, such as --license apache-2.0")
    if options.base and not options.merge:
        raise UserError("--base without --merge", "an adapter that is merged", "add --merge, or write --base-model ORG/NAME")
    if options.adapter and (options.eval_run or options.base_run):
        raise UserError("--eval-run with --adapter", "runs of full weights", "write --merge instead of --adapter")
    overwrite = options.overwrite or is_replaceable(Path(out))
    if options.adapter:
        from medllm_hf.hub.adapter import publish_adapter

        publish_adapter(options.path, options.repo_id, options.license, options.base_model, out, overwrite)
    elif options.merge:
        write_merged(options, out, overwrite)
    else:
        write_full(options, options.path, out, overwrite)
    return out


def write_merged(options: argparse.Namespace, out: str, overwrite: bool) -> None:
    """Writes the repository folder of an adapter merged into its base; the merged weights are kept there alone."""
    from medllm_hf.checkpoint.merge import merge
    from medllm_hf.folders import check_apart, check_free

    check_apart(out, [options.path, options.base])
    check_free(out, overwrite)
    parent = Path(os.path.abspath(out)).parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".merged-") as work:
        merged = os.path.join(work, f"{Path(os.path.abspath(options.path)).name}-merged")
        print(merge(options.path, merged, options.base).replace(f"{work}{os.sep}", ""), flush=True)
        write_full(options, merged, out, overwrite)


def write_full(options: argparse.Namespace, path: str, out: str, overwrite: bool) -> None:
    """Writes the repository folder of the full weights in `path`, whose card takes over what the publisher wrote on the Hub."""
    from medllm_hf.folders import check_apart
    from medllm_hf.hub.publish import check_files as check_model_files
    from medllm_hf.hub.publish import publish_model
    from medllm_hf.hub.standing_card import check_standing, merged_words, more_metadata

    check_apart(out, [path, *options.eval_run, *options.base_run])
    size = sum(shard.stat().st_size for shard in check_model_files(Path(path)))
    section = read_section(options, out)
    standing = find_standing(options)
    check_standing(standing, options.replace_card)
    # What follows reads all weights several times, and imports what takes seconds.
    print(f"checking {options.path}: {size:,} bytes of weights, runs: {', '.join(options.eval_run) or 'none'}", flush=True)
    publish_model(
        path,
        options.repo_id,
        options.eval_run,
        options.license,
        options.base_model,
        out,
        overwrite,
        datasets=options.dataset,
        benchmarks=options.benchmark,
        section=merged_words(standing, section, options.replace_card),
        base_runs=options.base_run,
        samples=options.samples,
        metadata=more_metadata(standing),
    )


def find_standing(options: argparse.Namespace) -> "Standing":
    """The card on the Hub; before a dry run, which says so later, none where the Hub cannot be asked."""
    from medllm_hf.hub.repository import Repository, check_name
    from medllm_hf.hub.standing_card import Standing
    from medllm_hf.hub.upload import UploadError, read_hub, read_standing

    check_name(options.repo_id)
    named = Repository("model", options.repo_id, {})
    try:
        return read_standing(named, read_hub(named, writing=not options.dry_run))
    except (UserError, UploadError):
        if not options.dry_run:
            raise
        return Standing()


def push_plan(repository: "Repository", private: bool, yes: bool, replace: bool) -> None:
    """Shows what would change, asks, and makes it so in one commit; a push of what is there already sends nothing.

    Args:
        private: the visibility that is wanted; of a repository that exists, the one that it must have.
        yes: do not ask.
        replace: do not ask what was edited in the card on the Hub.

    Raises:
        UserError: no token, or one without the right; another visibility; metadata that the Hub refuses; nobody to ask.
        ShownError: a card that was edited on the Hub.
        UploadError: see `send_plan`; or the user does not agree.
    """
    from medllm_hf.hub.plan import make_plan, plan_lines
    from medllm_hf.hub.standing_card import check_standing
    from medllm_hf.hub.upload import check_visibility, read_hub, read_standing, send_plan

    there = read_hub(repository, writing=True)
    if not replace:
        check_standing(read_standing(repository, there), replace)
    plan = make_plan(repository, private, there)
    print("\n".join(plan_lines(plan)))
    check_visibility(plan)
    if there and not plan.sent and not plan.removed:
        print(f"nothing to send: {repository.name} has it all at commit {there.commit}")
        return
    confirm(yes)
    commit = send_plan(plan)
    print(f"pushed {len(plan.sent)} files to {repository.name}, commit {commit}; read back, all hashes equal")


def show(repository: "Repository", private: bool, replace: bool) -> None:
    """Prints the plan and sends nothing; where the Hub cannot be asked, everything counts as new and the reason is said."""
    from medllm_hf.hub.plan import make_plan, plan_lines
    from medllm_hf.hub.standing_card import check_standing
    from medllm_hf.hub.upload import UploadError, check_visibility, read_hub, read_standing

    there = None
    try:
        there = read_hub(repository, writing=False)
        standing = None if replace else read_standing(repository, there)
    except (UserError, UploadError) as error:
        print(f"not compared with the Hub: {error}")
        standing = None
    if standing:
        check_standing(standing, replace)
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
