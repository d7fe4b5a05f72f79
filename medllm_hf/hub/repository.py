"""What may be pushed: a folder, as the files of one repository of the Hub."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import metadata_load
from huggingface_hub.utils import HFValidationError, validate_repo_id

from medllm_hf.errors import UserError, first_line

# The Hub's name of each kind that push_to_hub.py knows.
HUB_TYPES = {"model": "model", "dataset": "dataset", "metric": "space"}


@dataclass(frozen=True)
class Repository:
    """Files by their paths in the repository. `type` is the Hub's: "model", "dataset" or "space"."""

    type: str
    name: str
    files: dict[str, Path]


def repository(kind: str, folder: str, repo_id: str) -> Repository:
    """A folder as the repository of a "model", a "dataset" or a "metric", checked for what its kind demands.

    Hidden files, folders of caches and what they hold are left out; `.eval_results` is not.

    Raises:
        UserError: no such folder, nothing in it, a name that the Hub does not take, or see `check_links`, `check_dataset` and
            `check_metric`.
    """
    check_name(repo_id)
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"no folder {folder}", f"the folder of a {kind}", "check the path")
    check_links(root)
    files = {str(path.relative_to(root)): path for path in _files(root)}
    if not files:
        raise UserError(f"no files in {folder}", f"the files of a {kind}", "check the path")
    found = Repository(HUB_TYPES[kind], repo_id, files)
    if kind == "dataset":
        check_dataset(found)
    elif kind == "metric":
        check_metric(found)
    return found


def check_name(repo_id: str) -> None:
    """Check that the Hub takes this name.

    Raises:
        UserError: it is not ORG/NAME.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"--repo-id {repo_id!r} ({first_line(error)})", "ORG/NAME", "write it so") from error
    if repo_id.count("/") != 1:
        raise UserError(f"--repo-id {repo_id!r}", "ORG/NAME", "write it so")


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        hidden = path.name.startswith(".") and path.name != ".eval_results"
        if path.is_dir() and not hidden and path.name != "__pycache__":
            yield from _files(path)
        elif path.is_file() and not hidden:
            yield path


def check_links(root: Path) -> None:
    """Check that no link leads out of a folder or round in it (see `links_within`), and that it has files and folders alone.

    Raises:
        UserError: the first that does.
    """
    found = root.resolve()
    for folder, folders, names in os.walk(found):
        folders[:] = [name for name in folders if not (name.startswith(".") and name != ".eval_results")]
        for name in (*folders, *names):
            path = Path(folder, name)
            shown = path.relative_to(found)
            if path.is_symlink():
                if not links_within(path, found):
                    expected = "files of the folder itself"
                    raise UserError(f"the link {shown} to {os.readlink(path)}", expected, "put the file itself there")
            elif not (path.is_dir() or path.is_file()) and not name.startswith("."):
                raise UserError(f"a pipe or a device at {shown}", "files and folders", "remove it")


def links_within(link: Path, root: Path) -> bool:
    """Whether a link leads to a file of the resolved folder `root` itself.

    A snapshot in the cache of the Hub's library, whose files are links to its blobs, is a folder like any other.
    """
    target = Path(os.path.realpath(link))
    places = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    return target.is_file() and any(map(target.is_relative_to, places))


def check_dataset(found: Repository) -> None:
    """Check that the card names a licence and every data file that it names is there.

    Raises:
        UserError: otherwise.
    """
    metadata = _metadata(found, "a folder of `medllm data build`")
    if not metadata.get("license"):
        raise UserError("no license in README.md", "a licence identifier of the Hub", "build again with --license, or write it")
    try:
        named = [entry["path"] for config in metadata.get("configs") or [] for entry in config["data_files"]]
    except (TypeError, KeyError) as error:
        other = f"configs of another kind in README.md ({type(error).__name__} {error})"
        raise UserError(other, "a folder of `medllm data build`", "build it again") from error
    if not named:
        raise UserError("no configs in README.md", "a folder of `medllm data build`", "build it")
    if missing := [path for path in named if path not in found.files]:
        raise UserError(f"no {missing[0]}, which README.md names", "all data files of the dataset", "build it again")


def check_metric(found: Repository) -> None:
    """Check that `evaluate.load` and the page of the Space will find what they look for.

    Raises:
        UserError: no module named as the repository, no `app.py`, or a README.md that makes no Space.
    """
    module = found.name.split("/")[1] + ".py"
    if module not in found.files:
        do = "give the repository the name of the metric"
        raise UserError(f"no {module} for {found.name}", "a module of that name for evaluate.load", do)
    metadata = _metadata(found, "a metric's folder")
    for name in (metadata.get("app_file", "app.py"), "requirements.txt"):
        if name not in found.files:
            raise UserError(f"no {name}", "the page of a metric and what it needs", "take a whole folder of a metric")
    if metadata.get("sdk") != "gradio":
        raise UserError(f"sdk {metadata.get('sdk')!r} in README.md", "gradio", "write `sdk: gradio` in its metadata")


def _metadata(found: Repository, expected: str) -> dict:
    """The metadata of the card."""
    if "README.md" not in found.files:
        raise UserError("no README.md", expected, "check the path")
    try:
        metadata = metadata_load(found.files["README.md"])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"README.md with metadata that is not YAML ({first_line(error)})", expected, "mend it") from error
    return metadata or {}
