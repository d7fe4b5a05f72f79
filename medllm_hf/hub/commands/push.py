"""What `push_to_hub.py` shows and asks: the plan, a question, the commit."""

import sys

from medllm_hf.errors import UserError
from medllm_hf.hub.plan import make_plan, plan_lines
from medllm_hf.hub.repository import Repository
from medllm_hf.hub.upload import UploadError, check_visibility, read_hub, send_plan


def push(repository: Repository, private: bool, yes: bool) -> None:
    """Shows what would change, asks, and makes it so in one commit; a push of what is there already sends nothing.

    Args:
        private: the visibility that is wanted; of a repository that exists, the one that it must have.
        yes: do not ask.

    Raises:
        UserError: no token, or one without the right; another visibility; metadata that the Hub refuses; nobody to ask.
        UploadError: see `send_plan`; or the user does not agree.
    """
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


def show(repository: Repository, private: bool) -> None:
    """Prints the plan and sends nothing; where the Hub cannot be asked, everything counts as new and the reason is said."""
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
