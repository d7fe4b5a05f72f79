"""A written reply from which no letters can be read, asked once more: by the letters' probabilities, or for them alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from medllm_hf.endpoints.client import ChatClient, EndpointError, RequestAccount
from medllm_hf.evaluation.exams.batching import BatchLimits
from medllm_hf.evaluation.exams.context import positions
from medllm_hf.evaluation.exams.outputs import ANSWER, is_unread, output_row
from medllm_hf.evaluation.exams.prompts import PresentedQuestion, Prompts
from medllm_hf.evaluation.exams.settings import ResolvedSettings
from medllm_hf.evaluation.exams.thoughts import end_of_thought, opened_thought, without_marks

# What an output says of the spending of an endpoint's reply.
COUNTS = ("prompt_tokens", "completion_tokens", "retries")
# A second reply may be an object in a block of code, whatever the limit of the first.
FEWEST_TOKENS = 64
# What a server answers to one request that it will never take, such as one longer than the model's context.
_REFUSED = (400, 413, 422)


def compare_letters(
    network: Any, prompts: Prompts, written: Sequence[tuple[PresentedQuestion, dict]], limits: BatchLimits
) -> list[dict]:
    """The replies, each with "finishing" where no letters can be read from it; see `likelihood.likelihoods` for its values.

    The letters are compared behind the prompt, the reply, the end of a thought that is still open, and the cue "答案：": for
    a question with several right letters all sets of letters, as in the reading "likelihood". Where the text of a reply has
    more tokens than the model wrote, and with them no room is left, there is an error in their place.
    """
    from medllm_hf.evaluation.exams.likelihood import log_probabilities, output_of, tokenise

    unread = [i for i, (one, answer) in enumerate(written) if is_unread(one, output_row(one, answer), prompts.mode)]
    texts = {i: _context(prompts, *written[i]) for i in unread}
    answers = [answer for _, answer in written]
    most, fitting, questions = positions(network.config), [], []
    for i in unread:
        question = tokenise(prompts, written[i][0].item, texts[i])
        if most is None or max(map(len, question.candidates)) - 1 <= most:
            fitting.append(i)
            questions.append(question)
        else:
            error = f"longer than the model's {most:,} positions"
            answers[i] = {**answers[i], "finishing": {"reply": "", "error": error}}
    for place, values in log_probabilities(network, questions, limits):
        one, answer = written[fitting[place]]
        compared = output_of(one.item, prompts.score, questions[place], values)
        answers[fitting[place]] = {**answer, "finishing": compared}
    return answers


def _context(prompts: Prompts, one: PresentedQuestion, answer: Mapping) -> str:
    prompt, reply = prompts.text(one.item), prompts.escaped(answer["reply"])
    # The reply begins with the mark that its prompt ends in.
    prompt = prompt.removesuffix(opened_thought(prompt))
    return prompt + reply.rstrip() + end_of_thought(reply) + prompts.cue(one.item)


def letters_request(one: PresentedQuestion, turns: Sequence[dict], written: str) -> tuple[list[dict], dict]:
    """The messages that ask an endpoint for the letters alone after what it has `written`, and the schema of the answer."""
    said = [{"role": "assistant", "content": written}] if written else []
    messages = [*turns, *said, {"role": "user", "content": one.item.letters_alone}]
    if not said:  # two turns of the user in a row are refused by many templates
        messages = [*turns[:-1], {"role": "user", "content": f"{turns[-1]['content']}\n{one.item.letters_alone}"}]
    letter = {"type": "string", "enum": list(one.item.options)}
    answer = letter if one.item.kind == "single" else {"type": "array", "items": letter}
    schema = {"type": "object", "properties": {ANSWER: answer}, "required": [ANSWER], "additionalProperties": False}
    return messages, {"type": "json_schema", "json_schema": {"name": ANSWER, "strict": True, "schema": schema}}


def letters_limit(settings: ResolvedSettings) -> int:
    """The most tokens of a second reply: as of the first, since the model may think again."""
    return max(settings.max_new_tokens, FEWEST_TOKENS)


async def ask_letters(
    client: ChatClient,
    one: PresentedQuestion,
    turns: Sequence[dict],
    answer: dict,
    settings: ResolvedSettings,
    account: RequestAccount | None,
) -> dict:
    """The endpoint's reply `answer`, with "finishing" where no letters can be read from it.

    Raises:
        EndpointError: no answer; one that the server will never give is no error, since the reply would be lost each time.
    """
    if not is_unread(one, output_row(one, answer), settings.mode):
        return answer
    messages, form = letters_request(one, turns, without_marks(answer["reply"]) or answer.get("thought", ""))
    limit = letters_limit(settings)
    try:
        reply = await client.complete(
            messages, max_tokens=limit, temperature=0.0, seed=settings.seed, response_format=form, account=account
        )
    except EndpointError as error:
        if error.fatal or error.status not in _REFUSED:
            raise
        refused = {"reply": "", "error": error.text, **dict.fromkeys(COUNTS, 0)}
        return {**answer, "finishing": refused}
    return {**answer, "finishing": {"reply": reply.text, "finish": reply.finish, **{n: getattr(reply, n) for n in COUNTS}}}
