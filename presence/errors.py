"""Why a session may not register."""

from base.errors import CloseCode, ErrorCode, MinuetError


class RegistrationRefused(MinuetError):
    """The session may not be; its connection is closed with `close_code`."""

    close_code: CloseCode


class TokenRevoked(RegistrationRefused):
    """The token was taken back: the user signed out, here or everywhere, or was banned."""

    code = ErrorCode.UNAUTHENTICATED
    close_code = CloseCode.REVOKED


class BegunAnew(RegistrationRefused):
    """Its device has begun another session meanwhile."""

    code = ErrorCode.CONFLICT
    close_code = CloseCode.SUPERSEDED


class TooManyDevices(RegistrationRefused):
    """The user has live sessions on as many other devices as are allowed."""

    code = ErrorCode.CONFLICT
    close_code = CloseCode.TOO_MANY_DEVICES
