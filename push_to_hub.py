"""Prepares what goes to the Hub: `python push_to_hub.py model PATH --repo-id ORG/NAME --dry-run`."""

import sys

from medllm_hf.errors import OneLineParser, UserError


def build_parser() -> OneLineParser:
    """The arguments; `model` is the one kind that this version prepares."""
    parser = OneLineParser(
        prog="push_to_hub.py", description="Model folder → checked repository folder with card and evidence."
    )
    parser.add_argument("kind", choices=["model"])
    parser.add_argument("path", metavar="PATH", help="folder with the full weights and the tokenizer")
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME")
    parser.add_argument(
        "--eval-run", action="append", default=[], metavar="RUN", help="run folder of these weights; may be repeated"
    )
    parser.add_argument("--license", required=True, help="licence id of the weights, such as apache-2.0")
    parser.add_argument("--base-model", help="Hub id of the base model")
    parser.add_argument("--out", metavar="DIR", help="repository folder to write (default: PATH-repository)")
    parser.add_argument("--dry-run", action="store_true", help="check and write the repository folder, upload nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace what the repository folder holds")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake (one line on stderr)."""
    options = build_parser().parse_args(arguments)
    out = options.out or options.path.rstrip("/") + "-repository"
    try:
        if not options.dry_run:
            raise UserError("no --dry-run", "--dry-run", f"add it, read the folder, then `hf upload {options.repo_id} {out}`")
        from medllm_hf.hub.publish import publish_model

        publish_model(
            options.path, options.repo_id, options.eval_run, options.license, options.base_model, out, options.overwrite
        )
    except UserError as error:
        print(f"push_to_hub.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
