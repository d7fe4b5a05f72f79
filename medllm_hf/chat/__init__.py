"""Conversation: templates, sessions, the demos."""

__all__ = ["ChatSession"]


def __getattr__(name: str) -> object:
    # Lazy, so that importing the package stays light.
    if name == "ChatSession":
        from medllm_hf.chat.session import ChatSession

        return ChatSession
    raise AttributeError(name)
