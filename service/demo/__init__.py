"""The demo: one remix from end to end, told over the API that everybody else uses."""

from service.demo.command import play
from service.demo.request import DemoRequest

__all__ = ["DemoRequest", "play"]
