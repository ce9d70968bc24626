"""The error tree.

StreamProxyError                what went wrong, what it means, what to change
├── SettingsError               fix the settings; carries .problems
├── AddressInUse                another program has the port; carries .address
└── MissingExtra                install an optional part; carries .extra
"""

from __future__ import annotations

from collections.abc import Sequence


class StreamProxyError(Exception):
    """The root: its text is fit to be shown to the user as it is."""


class SettingsError(StreamProxyError):
    """One or more settings are wrong; each problem names the setting and the cure."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class AddressInUse(StreamProxyError):
    """The port is taken."""

    def __init__(self, address: str, setting: str) -> None:
        self.address = address
        super().__init__(
            f"Another program listens on {address}. Stop it, or choose another port with {setting}."
        )


class MissingExtra(StreamProxyError):
    """A part that is installed separately is needed."""

    def __init__(self, extra: str, what: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} needs the extra '{extra}': pip install 'alpaca-stream-proxy[{extra}]'."
        )
