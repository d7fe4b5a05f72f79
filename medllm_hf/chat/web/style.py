"""How the page looks, and how text gets into it: as letters, never as markup."""

import html

from medllm_hf.chat.web.conversation import visible

# The row with "Stop" stays where it is while the answer above grows: a click on what moves away is lost.
STYLE = """<style>
.medllm-said { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.65; unicode-bidi: plaintext; }
.medllm-note { color: gray; font-size: 0.85rem; overflow-wrap: anywhere; }
.medllm-error { border-left: 3px solid #c0392b; padding: 0.25rem 0.75rem; overflow-wrap: anywhere; }
.medllm-title { font-weight: 600; overflow-wrap: anywhere; margin-top: 0.75rem; }
.medllm-disclaimer { font-size: 0.85rem; line-height: 1.4; padding: 0.4rem 0.75rem; border-radius: 0.4rem;
  background: #fff4d6; color: #5c4400; }
.stMain { padding-top: 0; }
.stMainBlockContainer { padding-top: 0; padding-bottom: 1rem; max-width: 72rem; }
.stMain [data-testid="stBottomBlockContainer"] { padding-bottom: 1.25rem; max-width: 72rem; }
div:has(> .st-key-disclaimer), div:has(> .st-key-disclaimer-beside) { position: sticky; top: 0; z-index: 99; }
div:has(> .st-key-kept), .stStatusWidget, .stTextArea [data-testid="InputInstructions"] { display: none; }
[class*="st-key-actions-"]:has([class*="st-key-stop-"]) { position: fixed; bottom: 6.5rem; z-index: 98; width: auto; }
.stMainBlockContainer:has([class*="st-key-stop-"]) { padding-bottom: 4.5rem; }
@media (min-width: 769px) { div:has(> .st-key-disclaimer-beside) { display: none; } }
@media (max-width: 768px) {
  .stMain { padding-top: 3.75rem; }
  .stMainBlockContainer, .stMain [data-testid="stBottomBlockContainer"] { padding-left: 1rem; padding-right: 1rem; }
}
</style>"""


def said(text: str) -> str:
    """HTML that shows a message as it was written."""
    return f'<div class="medllm-said">{_letters(text)}</div>'


def note(text: str, kind: str = "note") -> str:
    """HTML of a remark of the page's own; `kind` is note, error, title or disclaimer."""
    return f'<div class="medllm-{kind}">{_letters(text)}</div>'


def upload_label(text: str) -> str:
    """A style that gives the field for files a text of the page's own, in place of Streamlit's English one."""
    button = '[data-testid="stFileUploaderDropzone"] button p'
    return (
        f'<style>{button} {{ font-size: 0; }} {button}::after {{ content: "{text}"; font-size: 0.875rem; }}'
        ' [data-testid="stFileUploaderDropzoneInstructions"] { display: none; }</style>'
    )


def _letters(text: str) -> str:
    # A line feed as a reference, because Streamlit takes blanks at the beginning of lines away.
    return html.escape(visible(text)).replace("\n", "&#10;")
