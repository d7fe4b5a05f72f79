"""What the verbs `chat` and `web` let a user choose, and the defaults; nothing that takes long to import."""

from typing import Literal

from medllm_hf.chat.sampling import SamplingFields

SessionDtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["4bit", "8bit"]
# As the weights have it.
DTYPE: SessionDtype = "auto"
# Where the page is served.
HOST, PORT = "127.0.0.1", 8501


class SessionFields(SamplingFields, total=False):
    """What a session may be made with beside a model and a seed: keywords of `ChatSession.from_pretrained`."""

    device: str | None
    dtype: SessionDtype
    quantization: Quantization | None
