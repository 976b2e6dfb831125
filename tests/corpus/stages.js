// The stages of a call whose descriptions `capture.py` keeps, each made by real peer connections in one page.
//
// Every entry of `stages` is one story; `keep(name, description)` records what its peers really made. The names are
// those of `chromium.toml`, which says what the gate must think of them.

import { camera, closeAll, gathered, pair, peer, prefer, say, show, shown, trickle } from "./peers.js";

const kept = {};

const keep = (name, { sdp }) => {
  if (name in kept) throw new Error(`two captures are named ${name}`);
  kept[name] = sdp;
};

/** Offer and answer between two peers, kept as `<name>-offer` and `<name>-answer`. */
async function negotiate(a, b, name, beforeAnswer = () => {}, options = {}) {
  await a.setLocalDescription(await a.createOffer(options));
  if (name) keep(`${name}-offer`, a.localDescription);
  await b.setRemoteDescription(a.localDescription);
  await beforeAnswer();
  await b.setLocalDescription(await b.createAnswer());
  if (name) keep(`${name}-answer`, b.localDescription);
  await a.setRemoteDescription(b.localDescription);
}

async function offerOnly(name, prepare, configuration, options) {
  const pc = peer(configuration);
  await prepare(pc);
  const offer = await pc.createOffer(options);
  keep(name, offer);
}

const stages = {
  async voice() {
    const [a, b] = await pair();
    trickle(a, b);
    await negotiate(a, b, "voice");
    await gathered(a);
    await gathered(b);
    keep("voice-complete-offer", a.localDescription);
    keep("voice-complete-answer", b.localDescription);
    await negotiate(b, a, "voice-again");
    await negotiate(a, b, "voice-ice-restart", () => {}, { iceRestart: true });
  },

  async voiceHidden() {
    // Candidates of a page that was never given a device have mDNS names; the frame is such a page.
    const frame = document.createElement("iframe");
    frame.src = "https://listener.test/listener.html";
    document.body.append(frame);
    await new Promise((resolve) => (frame.onload = resolve));
    const answer = new Promise((resolve) => addEventListener("message", ({ data }) => resolve(data), { once: true }));
    frame.contentWindow.postMessage("offer", "*");
    keep("voice-mdns-complete-offer", await answer);
  },

  async voiceData() {
    const [a, b] = await pair();
    a.createDataChannel("chat");
    await negotiate(a, b, "voice-data");
    await show(a);
    await negotiate(a, b, "voice-data-video");
  },

  async dataComplete() {
    const [a] = await pair();
    a.createDataChannel("chat");
    await a.setLocalDescription();
    await gathered(a);
    keep("voice-data-complete-offer", a.localDescription);
  },

  async dataFirst() {
    const a = peer();
    a.createDataChannel("chat");
    await a.setLocalDescription();
    keep("data-only-offer", a.localDescription);
    await a.setLocalDescription({ type: "rollback" });
    await say(a);
    keep("data-and-voice-after-rollback-offer", await a.createOffer());
  },

  async video() {
    const [a, b] = await pair({ video: true });
    trickle(a, b);
    await negotiate(a, b, "video");
    await gathered(a);
    await gathered(b);
    keep("video-complete-offer", a.localDescription);
    keep("video-complete-answer", b.localDescription);

    shown(a).direction = "recvonly";
    await negotiate(a, b, "video-half-revoked");
    shown(a).direction = "inactive";
    await negotiate(a, b, "video-revoked");
    await negotiate(a, b, "video-revoked-ice-restart", () => {}, { iceRestart: true });
    // The other side's own wish has survived its inactive answer.
    await negotiate(b, a, "video-asked-again");
    shown(a).direction = "sendrecv";
    shown(b).direction = "sendrecv";
    await negotiate(a, b, "video-allowed-again");

    shown(a).stop();
    await negotiate(a, b, "video-stopped");
    await negotiate(b, a, "video-stopped-by-the-other");
    await show(a);
    await negotiate(a, b, "video-recycled");
    shown(a).direction = "inactive";
    await negotiate(a, b, "video-recycled-revoked");
  },

  async videoAnswers() {
    for (const direction of ["recvonly", "sendonly", "inactive"]) {
      const [a, b] = await pair({ video: true });
      await negotiate(a, b, `video-for-${direction}`, () => (shown(b).direction = direction));
    }
    const [a, b] = await pair({ video: true });
    await negotiate(a, b, "video-for-stop", () => shown(b).stop());
  },

  async videoDirections() {
    for (const direction of ["sendonly", "recvonly", "inactive"]) {
      const [a, b] = await pair();
      await show(a, { direction });
      await negotiate(a, b, `video-${direction}`, async () => {
        if (direction !== "sendonly") await shown(b).sender.replaceTrack(await camera());
        shown(b).direction = "sendrecv";
      });
    }
  },

  async videoAddedLater() {
    const [a, b] = await pair();
    await negotiate(a, b, "");
    await show(b);
    await negotiate(b, a, "video-added");
    // What a page sends that takes an inactive answer for a reason to ask again.
    shown(b).direction = "inactive";
    await negotiate(b, a, "video-added-given-up");
  },

  async audioRecycled() {
    const [a, b] = await pair();
    await show(a, { direction: "inactive" });
    await negotiate(a, b, "");
    a.getTransceivers()[0].stop();
    await negotiate(a, b, "voice-stopped");
    await say(a);
    await negotiate(a, b, "voice-recycled");
  },

  async rollback() {
    const [a, b] = await pair();
    await show(a);
    await a.setLocalDescription();
    await b.setRemoteDescription(a.localDescription);
    await a.setLocalDescription({ type: "rollback" });
    await b.setRemoteDescription({ type: "rollback" });
    shown(a).direction = "inactive";
    await negotiate(a, b, "after-rollback");
    const [c, d] = await pair();
    await show(c);
    await c.setLocalDescription();
    await d.setRemoteDescription(c.localDescription);
    await d.setRemoteDescription({ type: "rollback" });
    await c.setLocalDescription({ type: "rollback" });
    await negotiate(d, c, "after-rollback-by-the-other", () => {});
    const [e, f] = await pair();
    await negotiate(e, f, "");
    await show(e);
    await e.setLocalDescription();
    await e.setLocalDescription({ type: "rollback" });
    shown(e).stop();
    await negotiate(e, f, "after-rollback-and-stop");
  },

  async policies() {
    for (const bundlePolicy of ["max-bundle", "max-compat"]) {
      const [a, b] = await pair({ configuration: { bundlePolicy } });
      await negotiate(a, b, `voice-${bundlePolicy}`);
      await show(a);
      await negotiate(a, b, `video-${bundlePolicy}`);
      shown(a).direction = "inactive";
      await negotiate(a, b, `video-revoked-${bundlePolicy}`);
      const c = peer({ bundlePolicy });
      await say(c);
      await show(c, { direction: "inactive" });
      c.createDataChannel("chat");
      keep(`voice-inactive-data-${bundlePolicy}-offer`, await c.createOffer());
    }
    await offerOnly("voice-rtcp-mux-required-offer", say, { rtcpMuxPolicy: "require" });
    await offerOnly("voice-relay-only-offer", say, { iceTransportPolicy: "relay" });
    await offerOnly("voice-candidate-pool-offer", say, { iceCandidatePoolSize: 2 });
  },

  async withoutBundle() {
    // As endpoints offer that do not know BUNDLE, or rtcp-mux.
    for (const [name, line] of [["without-bundle", /a=group:BUNDLE[^\n]*\n/], ["without-rtcp-mux", /a=rtcp-mux\r\n/g]]) {
      const [a, b] = await pair();
      await show(a, { direction: "inactive" });
      const { type, sdp } = await a.createOffer();
      const munged = { type, sdp: sdp.replace(line, "") };
      keep(`voice-${name}-offer`, munged);
      if (name === "without-rtcp-mux") continue; // Chromium demands it
      await b.setRemoteDescription(munged);
      await b.setLocalDescription(await b.createAnswer());
      keep(`voice-${name}-answer`, b.localDescription);
    }
  },

  async rejections() {
    for (const [name, from, to] of [
      ["unknown-codecs", /a=rtpmap:(\d+) (VP8|VP9|H264|H265|AV1|rtx|red|ulpfec|flexfec-03)\//g, "a=rtpmap:$1 X-$2/"],
      ["unknown-media", "m=video", "m=text"],
    ]) {
      const [a, b] = await pair({ video: true });
      const { type, sdp } = await a.createOffer();
      const munged = { type, sdp: sdp.replace(from, to) };
      keep(`${name}-offer`, munged);
      await b.setRemoteDescription(munged);
      await b.setLocalDescription(await b.createAnswer());
      keep(`${name}-answer`, b.localDescription);
    }
  },

  async codecs() {
    await offerOnly("voice-opus-only-offer", async (pc) => prefer(await say(pc), ["opus"]));
    await offerOnly("voice-red-first-offer", async (pc) => prefer(await say(pc), ["red", "opus", "telephone-event"]));
    await offerOnly("voice-pcmu-only-offer", async (pc) => prefer(await say(pc), ["pcmu"]));
    for (const codecs of [["vp8"], ["vp8", "rtx"], ["vp9", "rtx", "red", "ulpfec"], ["av1"], ["h264", "rtx"]])
      await offerOnly(`video-${codecs.join("-")}-offer`, async (pc) => {
        await say(pc);
        prefer(await show(pc), codecs);
      });
    const [a, b] = await pair();
    await show(a, { direction: "inactive" });
    prefer(shown(a), ["vp8", "rtx", "red", "ulpfec"]);
    await negotiate(a, b, "voice-with-inactive-rtx-and-fec");
  },

  async simulcast() {
    const sendEncodings = [{ rid: "q", scaleResolutionDownBy: 4 }, { rid: "h", scaleResolutionDownBy: 2 }, { rid: "f" }];
    const [a, b] = await pair();
    await show(a, { sendEncodings });
    await negotiate(a, b, "video-simulcast");
    shown(a).direction = "inactive";
    await negotiate(a, b, "video-simulcast-revoked");
    await offerOnly("voice-inactive-simulcast-offer", async (pc) => {
      await say(pc);
      await show(pc, { sendEncodings, direction: "inactive" });
    });
  },

  async trackless() {
    for (const direction of ["sendrecv", "recvonly", "sendonly", "inactive"]) {
      const a = peer();
      a.addTransceiver("audio", { direction });
      const b = peer();
      await say(b);
      await negotiate(a, b, `trackless-voice-${direction}`, () => {
        for (const transceiver of b.getTransceivers()) transceiver.direction = "sendrecv";
      });
    }
    const a = peer();
    a.addTransceiver("audio");
    a.addTransceiver("video");
    await negotiate(a, peer(), "trackless-video");
    const c = peer();
    c.addTransceiver("video", { direction: "inactive" });
    c.addTransceiver("audio");
    await negotiate(c, peer(), "inactive-video-before-voice");
  },

  async legacy() {
    const nothing = () => {};
    await offerOnly("legacy-receive-voice-offer", nothing, {}, { offerToReceiveAudio: true });
    await offerOnly("legacy-receive-video-offer", nothing, {}, { offerToReceiveAudio: true, offerToReceiveVideo: true });
    await offerOnly("empty-offer", nothing);
  },

  async crowds() {
    const many = (count, kind, direction) => async (pc) => {
      await say(pc);
      for (let n = 0; n < count; n += 1) pc.addTransceiver(kind, { direction });
    };
    await offerOnly("seven-inactive-videos-offer", async (pc) => {
      await many(7, "video", "inactive")(pc);
      for (const transceiver of pc.getTransceivers().slice(1)) prefer(transceiver, ["vp8"]);
    });
    await offerOnly("eight-inactive-videos-offer", async (pc) => {
      await many(8, "video", "inactive")(pc);
      for (const transceiver of pc.getTransceivers().slice(1)) prefer(transceiver, ["vp8"]);
    });
    await offerOnly("six-inactive-voices-offer", many(6, "audio", "inactive"));
    await offerOnly("two-voices-offer", many(1, "audio", "sendrecv"));
    await offerOnly("two-videos-offer", async (pc) => {
      await say(pc);
      await show(pc);
      await show(pc);
    });
    await offerOnly("one-of-two-videos-offer", async (pc) => {
      await say(pc);
      await show(pc);
      await show(pc, { direction: "inactive" });
    });
    await offerOnly("video-only-offer", show);
    await offerOnly("video-before-voice-offer", async (pc) => {
      await show(pc);
      await say(pc);
    });
  },

  async munged() {
    const munge = async (name, change, prepare = say) => {
      const pc = peer();
      await prepare(pc);
      const { type, sdp } = await pc.createOffer();
      keep(name, { type, sdp: change(sdp) });
    };
    await munge("voice-stereo-offer", (sdp) => sdp.replace("useinbandfec=1", "useinbandfec=1;stereo=1;maxaveragebitrate=64000"));
    await munge("voice-bandwidth-offer", (sdp) => sdp.replace("a=mid:0\r\n", "b=AS:64\r\na=mid:0\r\n"));
  },
};

/** Tells every story once. Returns the descriptions by name. */
export async function capture() {
  for (const [story, tell] of Object.entries(stages)) {
    try {
      await tell();
    } catch (error) {
      throw new Error(`${story}: ${error}`);
    } finally {
      closeAll();
    }
  }
  return kept;
}

/** Answers offers of another implementation. Returns the answer. */
export async function answer(offer, { video = false, data = false } = {}) {
  const pc = peer();
  await say(pc);
  if (video) await show(pc);
  await pc.setRemoteDescription({ type: "offer", sdp: offer });
  await pc.setLocalDescription(await pc.createAnswer());
  const { sdp } = pc.localDescription;
  pc.close();
  return sdp;
}
