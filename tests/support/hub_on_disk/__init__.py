"""A Hub on loopback with its state on disk, for the unmodified clients of the Hub: point `HF_ENDPOINT` at it."""

from support.hub_on_disk.server import Hub, start_hub
from support.hub_on_disk.store import Refused, Store

__all__ = ["Hub", "Refused", "Store", "start_hub"]
