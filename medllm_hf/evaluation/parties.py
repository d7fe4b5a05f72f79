"""Who speaks in a consultation: a model behind an endpoint, or a checkpoint that is served on loopback for it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from medllm_hf.evaluation.endpoint import Endpoint, parse_endpoint
from medllm_hf.evaluation.run_folder import weights_hash
from medllm_hf.evaluation.serving import served
from medllm_hf.folders import sha256
from medllm_hf.pretrained import check_served, snapshot
from medllm_hf.templates.rendering import check_conversation
from medllm_hf.templates.template_checks import check_thinking

# What decides a reply beside the weights: the tokenizer, its chat template, the configuration and the generation defaults.
_DECISIVE = ("*.json", "*.jinja", "tokenizer.model")


@dataclass(frozen=True)
class Party:
    """One side of a consultation. `record` is what a manifest says of it; either `endpoint` or `folder` is there."""

    record: dict
    endpoint: Endpoint | None
    folder: Path | None
    enable_thinking: bool | None = None


def parse_party(
    spec: str, key_env: str, *, concurrency: int, timeout: float, enable_thinking: bool | None = None, talks: bool = False
) -> Party:
    """The party that `URL#MODEL`, a checkpoint folder or a Hub id names; the weights of a checkpoint are hashed, not loaded.

    Args:
        key_env: the environment variable with the key of an endpoint.
        concurrency: the most requests at once to an endpoint; a checkpoint that we serve takes one at a time.
        timeout: seconds for one request to an endpoint.
        enable_thinking: what its chat template is told; None tells it nothing.
        talks: whether it will answer more than once in a conversation.

    Raises:
        UserError: no such checkpoint, an address that is none, or no key for it; a checkpoint that needs foreign code, or has
            no chat template or one that does not read `enable_thinking`.
    """
    if ("#" in spec or "://" in spec) and not Path(spec).is_dir():
        endpoint = parse_endpoint(spec, key_env, concurrency=concurrency, timeout=timeout)
        return Party({"id": endpoint.model, "endpoint": endpoint.url}, endpoint, None, enable_thinking)
    folder, revision = snapshot(spec)
    tokenizer = check_served(folder)
    check_thinking(tokenizer, folder, enable_thinking)
    if talks:
        check_conversation(tokenizer, folder)
    name = {"id": spec, "revision": revision} if revision else {"id": folder.resolve().name}
    lines = [f"{sha256(file)}  {file.name}" for pattern in _DECISIVE for file in sorted(folder.glob(pattern))]
    settings = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    record = {**name, "weights_sha256": weights_hash(folder), "settings_sha256": settings}
    return Party(record, None, folder, enable_thinking)


@contextmanager
def endpoints(parties: Sequence[Party]) -> Iterator[list[Endpoint]]:
    """Yields the endpoints of `parties`, in their order; each distinct checkpoint is served once until the block ends.

    Raises:
        UserError: a checkpoint cannot be served.
    """
    with ExitStack() as stack:
        servers: dict[Path, Endpoint] = {}
        for party in parties:
            if party.folder is not None and party.folder.resolve() not in servers:
                servers[party.folder.resolve()] = stack.enter_context(served(party.folder))
        found = [party.endpoint or servers[party.folder.resolve()] for party in parties]
        yield [replace(one, enable_thinking=party.enable_thinking) for one, party in zip(found, parties, strict=True)]
