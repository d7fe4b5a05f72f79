"""From a base checkpoint to a published Chinese medical consultation model whose every number can be re-derived."""

__version__ = "0.1.0"
