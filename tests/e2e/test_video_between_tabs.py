"""Video between two tabs of a real browser: what she allows comes through, and nothing else."""

import asyncio

import pytest

from tests.e2e.tabs import LEO, MAYA, SHOWS_PICTURE, OpenTab, allow_video, meet

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_she_sees_him_and_stays_unseen(open_tab: OpenTab) -> None:
    """`receive` opens his camera alone; hers is not even asked for. Both like their screens dark."""
    her, him = await asyncio.gather(open_tab(MAYA, color_scheme="dark"), open_tab(LEO, color_scheme="dark"))
    await meet(her, him)
    await him.press("video")

    await allow_video(her, "receive")
    await her.sees(10)

    await her.until(SHOWS_PICTURE)
    await asyncio.gather(her.photo("video-receive"), him.photo("video-receive"))
    assert (await him.stats())["video"]["frames"] == 0
    assert (await her.stats())["sentVideo"]["frames"] == 0
    assert await her.asked_devices() == ["audio"]
    assert await him.asked_devices() == ["audio", "video"]


async def test_a_page_that_cheats_gets_no_video_through(open_tab: OpenTab) -> None:
    """Whatever his page adds to its connection, the server lets no video pass before she approves; voice goes on."""
    her, him = await asyncio.gather(open_tab(MAYA), open_tab(LEO))
    await meet(her, him)
    await her.hears()

    refusals = await him.page.evaluate(CHEAT)
    await asyncio.gather(her.hears(), him.hears())

    assert refusals == ["video_not_allowed", "video_not_allowed"]
    assert await her.page.evaluate("window.__minuet.call.remoteVideo") is None
    assert (await her.stats())["video"]["frames"] == 0
    assert await her.page.evaluate(VIDEO_SECTIONS) == []
    for tab in (her, him):
        await tab.in_state("live")
    # Honest video works afterwards: the refusals broke nothing.
    await him.press("video")
    await allow_video(her, "both")
    await asyncio.gather(her.sees(), him.sees())


# An offer with his camera: of the call's own connection, and of one that the SDK knows nothing of. Neither is applied:
# what a page does to its own connection is its own affair.
CHEAT = """
async () => {
  const { client, call, pc } = window.__minuet;
  const camera = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks()[0];
  const offer = async ({ sdp }, negotiation) => {
    try {
      await client.connection.request("call.offer", { call_id: call.id, negotiation, sdp });
      return "relayed";
    } catch (error) {
      return error.code;
    }
  };
  const sender = pc.addTrack(camera);
  const refusals = [await offer(await pc.createOffer(), 900)];
  pc.removeTrack(sender);

  const sneaky = new RTCPeerConnection();
  for (const { track } of pc.getSenders()) if (track) sneaky.addTrack(track);
  sneaky.addTrack(camera);
  refusals.push(await offer(await sneaky.createOffer(), 901));
  sneaky.close();
  camera.stop();
  return refusals;
}
"""
VIDEO_SECTIONS = """
window.__minuet.pc.remoteDescription.sdp.split('m=').filter((section) => section.startsWith('video 9') && !section.includes('a=inactive'))
"""


async def test_a_refused_offer_leaves_the_voices_alone(open_tab: OpenTab) -> None:
    """The SDK believes that video is open, tries, is refused, and falls back to what was: voice, both ways."""
    her, him = await asyncio.gather(open_tab(MAYA), open_tab(LEO))
    await meet(her, him)
    await asyncio.gather(her.hears(), him.hears())

    await him.page.evaluate(MISLED)
    await him.toasts("Video is not open")

    await asyncio.gather(her.hears(), him.hears())


# As after a revocation that is still on its way: allowed here, and not any more at the server.
MISLED = """
async () => {
  const { call } = window.__minuet;
  call.receive("video.allowed", { call_id: call.id, video_allowed: { a: true, b: true } });
  await call.startCamera();
}
"""
