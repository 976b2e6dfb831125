"""What can go wrong with an embedded server, each with what its user should do about it."""

from pathlib import Path


class EmbeddedServerError(Exception):
    """A server of ours could not be found, started or stopped."""

    code = "embedded_server"


class ServerNotFound(EmbeddedServerError):
    """No binary of the server is installed here."""

    code = "embedded_server_not_found"


class ServerFailed(EmbeddedServerError):
    """The server stopped, or did not become ready in time; carries the end of its log."""

    code = "embedded_server_failed"

    def __init__(self, name: str, reason: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} {reason}; its log is {log} and ends with:\n{tail or '(nothing)'}")
        self.log = log
        self.tail = tail


class StateFolderInUse(EmbeddedServerError):
    """Another process keeps its servers in this folder."""

    code = "state_folder_in_use"

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(
            f"{folder} is in use by process {holder or 'unknown'}: stop that one first, or give this one"
            " another folder with MINUET_STATE_DIR"
        )
        self.folder = folder


class StateFolderUnusable(EmbeddedServerError):
    """The folder belongs to another user, or its contents do not fit the servers installed now."""

    code = "state_folder_unusable"
