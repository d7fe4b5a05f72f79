"""What Streamlit runs for each visitor, in the process of the verb `web`."""

from medllm_hf.chat.web.page import page
from medllm_hf.chat.web.start import served

page(*served())
