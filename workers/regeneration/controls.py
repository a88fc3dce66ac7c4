"""What a player can be told beside the style: how much to play, whether to fill, whether to swing.

A control is one embedding at its own position of the decoder's prefix. Its table has a row for each
value and a last one for "not told"; training leaves controls out independently of each other, so
that any of them may be told alone.
"""

from collections.abc import Mapping

ControlValue = str | bool

CONTROLS: Mapping[str, tuple[ControlValue, ...]] = {
    "density": ("sparse", "normal", "busy"),
    "fills": (False, True),
    "swing": (False, True),
}
"""Every control there is with its values, in the order of their rows."""


class UnknownControl(ValueError):
    """No such control, or not one of its values."""


def values_of(name: str) -> tuple[ControlValue, ...]:
    """The values of a control; raises :class:`UnknownControl`."""
    if name not in CONTROLS:
        raise UnknownControl(f"{name!r} is no control; there are {', '.join(CONTROLS)}")
    return CONTROLS[name]


def untold(name: str) -> int:
    """The row of a control that is not told."""
    return len(values_of(name))


def row_of(name: str, value: ControlValue | None) -> int:
    """The row of a control's value; ``None`` is the row of "not told".

    Raises:
        UnknownControl: no such control, or the value is not one of its values.
    """
    values = values_of(name)
    if value is None:
        return len(values)
    # 1 == True: a number must not pass for a switch, nor a switch for a number.
    for row, known in enumerate(values):
        if type(value) is type(known) and value == known:
            return row
    said = ", ".join(str(known) for known in values)
    raise UnknownControl(f"{name} is one of {said}, not {value!r}")
