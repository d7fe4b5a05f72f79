"""What Streamlit runs for each visitor, in the process of the verb `web`."""

from medllm_hf.chat.web import served
from medllm_hf.chat.web_page import page

page(*served())
