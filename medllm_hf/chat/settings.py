"""What the verbs `chat` and `web` let a user choose, and the defaults; nothing that takes long to import."""

from medllm_hf.chat.sampling import SamplingFields
from medllm_hf.placement import Dtype, Quantization

# Where the page is served.
HOST, PORT = "127.0.0.1", 8501


class SessionFields(SamplingFields, total=False):
    """What a session may be made with beside a model and a seed: keywords of `ChatSession.from_pretrained`."""

    device: str | None
    dtype: Dtype
    quantization: Quantization | None
    extra_body: str | None
