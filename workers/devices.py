"""Where models compute: what an operator's setting means on this machine."""

import torch


class DeviceAbsent(ValueError):
    """The setting names a device that this machine does not have."""


def device_of(setting: str) -> torch.device:
    """The device of a setting: "auto" (CUDA where there is one, else the CPU) or a torch device.

    Raises:
        DeviceAbsent: CUDA was asked for by name, and there is none.
    """
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(setting)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceAbsent(
            f"the device {setting} was asked for, and torch sees {torch.cuda.device_count()}"
        )
    return device
