"""Who answers: a model behind an endpoint, `URL#MODEL`, or a checkpoint folder or Hub id, which is served on loopback."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from medllm_hf.endpoints.address import Endpoint, names_endpoint, on_this_machine, parse_endpoint
from medllm_hf.endpoints.client import ChatClient, EndpointError
from medllm_hf.endpoints.extra_body import read_extra_body
from medllm_hf.endpoints.local_server import served
from medllm_hf.evaluation.runs.behaviour import behaviour_hashes
from medllm_hf.evaluation.runs.folder import weights_hash
from medllm_hf.folders import sha256
from medllm_hf.pretrained import check_served, snapshot
from medllm_hf.templates.rendering import check_conversation
from medllm_hf.templates.template_checks import check_thinking

# What decides a reply beside the weights: the tokenizer, its chat template, the configuration and the generation defaults.
_DECISIVE = ("*.json", "*.jinja", "tokenizer.model")


@dataclass(frozen=True)
class ModelSpec:
    """A model that is asked. `record` is what a manifest says of it; either `endpoint` or `folder` is there."""

    record: dict
    endpoint: Endpoint | None
    folder: Path | None
    enable_thinking: bool | None = None
    extra_body: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether what it is asked leaves this machine."""
        return self.endpoint is not None and not on_this_machine(self.endpoint.url)


def parse_model(
    spec: str,
    key_env: str,
    *,
    concurrency: int,
    timeout: float,
    enable_thinking: bool | None = None,
    extra_body: str | None = None,
    talks: bool = False,
) -> ModelSpec:
    """The model that `URL#MODEL`, a checkpoint folder or a Hub id names; the weights of a checkpoint are hashed, not loaded.

    Args:
        key_env: the environment variable with the key of an endpoint.
        concurrency: the most requests at once to an endpoint; a checkpoint that we serve takes one at a time.
        timeout: seconds for one request to an endpoint.
        enable_thinking: what its chat template is told; None tells it nothing.
        extra_body: more fields of each request, a JSON object.
        talks: whether it will answer more than once in a conversation.

    Raises:
        UserError: no such checkpoint, an address that is none, or no key for it; a checkpoint that needs foreign code, or has
            no chat template or one that does not read `enable_thinking`.
    """
    extra = read_extra_body(extra_body)
    if names_endpoint(spec):
        endpoint = parse_endpoint(spec, key_env, concurrency=concurrency, timeout=timeout)
        return ModelSpec({"id": endpoint.model, "endpoint": endpoint.url}, endpoint, None, enable_thinking, extra)
    folder, revision = snapshot(spec)
    tokenizer = check_served(folder)
    check_thinking(tokenizer, folder, enable_thinking)
    if talks:
        check_conversation(tokenizer, folder)
    name = {"id": spec, "revision": revision} if revision else {"id": folder.resolve().name}
    lines = [f"{sha256(file)}  {file.name}" for pattern in _DECISIVE for file in sorted(folder.glob(pattern))]
    settings = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    hashes = {"weights_sha256": weights_hash(folder), "files_sha256": behaviour_hashes(folder)}
    record = {**name, **hashes, "settings_sha256": settings}
    return ModelSpec(record, None, folder, enable_thinking, extra)


def check_answers(spec: ModelSpec) -> None:
    """Check, by one short question, that the endpoint of `spec` answers.

    Raises:
        UserError: it does not.
    """
    assert spec.endpoint, "a checkpoint is not served yet"
    endpoint = replace(spec.endpoint, enable_thinking=spec.enable_thinking, extra_body=spec.extra_body)

    async def ask() -> None:
        async with ChatClient(endpoint) as client:
            await client.preflight()

    try:
        asyncio.run(ask())
    except EndpointError as error:
        raise error.told("an endpoint that answers", "mend it") from error


@contextmanager
def serve_models(specs: Sequence[ModelSpec]) -> Iterator[list[Endpoint]]:
    """Yields the endpoints of `specs`, in their order; each distinct checkpoint is served once until the block ends.

    Raises:
        UserError: a checkpoint cannot be served.
    """
    with ExitStack() as stack:
        servers: dict[Path, Endpoint] = {}
        found: list[Endpoint] = []
        for spec in specs:
            endpoint = spec.endpoint
            if spec.folder is not None:
                folder = spec.folder.resolve()
                endpoint = servers.get(folder) or servers.setdefault(folder, stack.enter_context(served(spec.folder)))
            assert endpoint, "a model is behind an endpoint or in a folder"
            found.append(replace(endpoint, enable_thinking=spec.enable_thinking, extra_body=spec.extra_body))
        yield found
