"""Plan → one commit on the Hub, by the library's own client, and what the Hub then has beside what was sent."""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, constants, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import build_hf_headers, disable_progress_bars, get_session, hf_raise_for_status, logging

from medllm_hf.errors import UserError
from medllm_hf.hub.card_figures import CARD, LARGEST
from medllm_hf.hub.plan import Plan, RemoteState, differences
from medllm_hf.hub.repository import Repository
from medllm_hf.hub.standing_card import Standing

_LONGEST = 300
# What all errors of the connection are: httpx's class, or httpx2's from huggingface_hub 2 on.
HTTPError = cast(type[Exception], HfHubHTTPError.__bases__[0])


class UploadError(Exception):
    """A push that failed through no mistake of the user's, on one line; exit code 1."""

    def __init__(self, text: str):
        super().__init__(" ".join(text.split()))


def read_hub(repository: Repository, writing: bool) -> RemoteState | None:
    """What the Hub has under the name, or None; before `writing`, the Hub is asked whether it knows the token.

    Raises:
        UserError: see `client`; or the Hub refuses.
        UploadError: no connection.
    """
    api = client()
    _quiet()
    with refuse_upload_errors(repository):
        if writing:
            api.whoami()
        return read_remote(api, repository)


def read_standing(repository: Repository, there: RemoteState | None) -> Standing:
    """The card that the Hub has under the name, and the one that the last push from here left.

    Raises:
        UserError: the Hub refuses; a card that is no text or too large.
        UploadError: no connection.
    """
    if there is None or CARD not in there.files:
        return Standing()
    api = client()
    with refuse_upload_errors(repository):
        commits = api.list_repo_commits(repository.name, repo_type=repository.type)
        last = next((one.commit_id for one in commits if one.title == title_of(repository)), None)
        now = _card(repository, there.commit)
        if last == there.commit:
            return Standing(now, now)
        files = {file.path for file in remote_files(api, repository, last)} if last else set()
        return Standing(now, _card(repository, last) if last and CARD in files else None)


def title_of(repository: Repository) -> str:
    """The title of the commit of a push."""
    return f"Upload {repository.type} with medllm_hf"


def _card(repository: Repository, commit: str) -> str:
    url = hf_hub_url(repository.name, CARD, repo_type=repository.type, revision=commit)
    answer = get_session().get(
        url, headers=build_hf_headers(token=get_token(), library_name="medllm_hf"), follow_redirects=True
    )
    hf_raise_for_status(answer)
    if len(answer.content) > LARGEST:
        raise ValueError(f"{CARD} of {len(answer.content):,} bytes on the Hub")
    return answer.content.decode("utf-8", "replace")


def send_plan(plan: Plan) -> str:
    """Makes what the Hub has what the plan says, in one commit, reads it back, and returns the id of the commit.

    Until the commit, main shows what it showed. Content that was sent before an interruption is not sent again.

    Raises:
        UserError: the Hub refuses, or refuses the metadata.
        UploadError: no connection, a change by somebody else meanwhile, or other content there than was sent.
    """
    api, repository = client(), plan.repository
    with refuse_upload_errors(repository):
        commit = send(api, plan)
        found = remote_files(api, repository, commit)
        head = api.repo_info(repository.name, repo_type=repository.type).sha
    if wrong := differences(plan, found):
        raise UploadError(f"found other content than was sent in {', '.join(wrong[:5])} of {repository.name}; push again")
    if head != commit:
        raise UploadError(f"found commit {head} on top of the {commit} of this push; somebody else changed {repository.name}")
    return commit


def client() -> HfApi:
    """The library's client, with the token of HF_TOKEN or of `hf auth login`.

    Raises:
        UserError: no token, or something that is none; HF_HUB_OFFLINE is set.
    """
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE", "the Hub in reach", "unset it")
    token = get_token()
    if not token:
        raise UserError("no token for the Hub", "HF_TOKEN or a login", "run `hf auth login`")
    if not re.fullmatch("[!-~]+", token):
        raise UserError("a token with signs that no token has", "a token of the Hub", "set HF_TOKEN again")
    return HfApi(token=token, library_name="medllm_hf")


def read_remote(api: HfApi, repository: Repository) -> RemoteState | None:
    """What the Hub has under the name, or None.

    Raises:
        UploadError: the Hub names no commit of what it has.
    """
    try:
        info = api.repo_info(repository.name, repo_type=repository.type)
    except RepositoryNotFoundError:
        return None
    if info.sha is None:
        raise UploadError(f"found no commit of {repository.name} on the Hub; push again")
    files = remote_files(api, repository, info.sha)
    return RemoteState(info.sha, bool(info.private), {file.path: file for file in files})


def remote_files(api: HfApi, repository: Repository, commit: str) -> list[RepoFile]:
    """The files of a commit, with the hashes that the Hub has of them."""
    entries = api.list_repo_tree(repository.name, repo_type=repository.type, revision=commit, recursive=True)
    return [entry for entry in entries if isinstance(entry, RepoFile)]


def check_visibility(plan: Plan) -> None:
    """Check that the repository is new, or is as visible as it should be.

    Raises:
        UserError: otherwise; a push changes no visibility.
    """
    if plan.there and plan.there.private != plan.private:
        seen, wanted = ("private", "public") if plan.there.private else ("public", "private")
        do = f"add --{seen}, or change it with `hf repos settings`"
        raise UserError(f"{plan.repository.name} {seen}", wanted, do)


def send(api: HfApi, plan: Plan) -> str:
    """Makes the repository where there is none, commits all changes at once, and returns the id of the commit."""
    repository, there = plan.repository, plan.there
    if there is None:
        sdk = "gradio" if repository.type == "space" else None
        api.create_repo(repository.name, repo_type=repository.type, private=plan.private, space_sdk=sdk)
        there = read_remote(api, repository)
        if there is None:
            raise UploadError(f"found no {repository.name} on the Hub after it was made; push again")
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for path in plan.sent:
        add = CommitOperationAdd(path_in_repo=path, path_or_fileobj=repository.files[path])
        add.upload_info.sha256 = bytes.fromhex(plan.hashes[path])
        operations.append(add)
    operations += [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in plan.removed]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        commit = api.create_commit(
            repository.name,
            operations,
            commit_message=title_of(repository),
            repo_type=repository.type,
            revision="main",
            parent_commit=there.commit,
        )
    return commit.oid


def _quiet() -> None:
    """Leaves standard error to our own lines: no warnings of retries, and no bars where nobody looks."""
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        disable_progress_bars()


@contextmanager
def refuse_upload_errors(repository: Repository) -> Iterator[None]:
    """Makes the client's errors errors of ours, without the token.

    Raises:
        UserError: what the Hub refuses.
        UploadError: anything else that went wrong on the way.
    """
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        # The client wraps what went wrong with a file of LFS.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        raise _explained(repository.name, cause) from error


def _explained(name: str, error: BaseException) -> UserError | UploadError:
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return UserError(_said(error), "what the Hub takes", "mend it and push again")
    if not isinstance(error, HfHubHTTPError):
        what = "no connection to the Hub" if isinstance(error, HTTPError) else "a failed upload"
        return UploadError(f"{what} ({_said(error)}); push again, what was sent is kept")
    status, said = error.response.status_code, _said(error.server_message or error)
    if status == 401:
        return UserError(f"a token that the Hub refuses (401: {said})", "a valid one", "run `hf auth login` or set HF_TOKEN")
    if status in (403, 404):
        return UserError(f"no right to write {name} ({status}: {said})", "a token with write access", "make one on the Hub")
    if status in (409, 412):
        return UploadError(f"{name} was changed by somebody else meanwhile ({status}: {said}); push again")
    if status < 500 and status != 429:
        return UserError(f"a refusal of the Hub ({status}: {said})", "what the Hub takes", "mend it and push again")
    return UploadError(f"the Hub failed ({status}: {said}); push again, what was sent is kept")


def _said(what: object) -> str:
    """What a server or a library says, short and without the token."""
    text = " ".join(str(what).split()) or type(what).__name__
    return text.replace(get_token() or "\0", "***")[:_LONGEST]
