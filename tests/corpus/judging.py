"""What the hub makes of a case: its verdict under a permission, and the text that goes on where addresses are hidden."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Final

from signaling import sdp
from signaling.addresses import filter_description
from signaling.candidates import AddressRule, RelayRange, RelayRanges
from tests.corpus.cases import ACCEPTED

ALLOWANCES: Final[Mapping[str, sdp.Allowance]] = {
    "voice": sdp.Allowance(),
    "send": sdp.Allowance(send_video=True),
    "receive": sdp.Allowance(receive_video=True),
    "both": sdp.Allowance(send_video=True, receive_video=True),
    "data": sdp.Allowance(data_channels=True),
    "everything": sdp.Allowance(send_video=True, receive_video=True, data_channels=True),
}
# No description of the corpus has a candidate there: all that are in one have to go.
_HIDDEN: Final = AddressRule(
    relay_only=True, ranges=RelayRanges((RelayRange((ip_network("203.0.113.7/32"),)),))
)


def verdict(description: str, offer: str | None, permission: str) -> str:
    """`accepted` or the code of the refusal, asked in the order in which the hub asks."""
    try:
        parsed = sdp.parse(description)
        if offer is not None:
            sdp.check_answer(sdp.parse(offer), parsed)
        sdp.judge(parsed, ALLOWANCES[permission])
    except sdp.SdpRefused as refused:
        return refused.code
    return ACCEPTED


def hidden(description: str) -> str:
    """What the other side gets of an accepted description where addresses are hidden. Raises: sdp.SdpRefused."""
    return filter_description(description, sdp.parse(description), _HIDDEN).sdp
