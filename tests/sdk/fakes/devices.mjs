/** A microphone and cameras that open for whoever asks, and can be told to refuse. */

import { FakeTrack } from "./peer-connection.mjs";

export class FakeDevices {
  /** The name of the error that refuses whatever is asked for. */
  refusal = null;
  opened = [];

  async getUserMedia({ audio }) {
    if (this.refusal) throw new DOMException("no", this.refusal);
    const track = new FakeTrack(audio ? "audio" : "video");
    this.opened.push(track);
    return { getAudioTracks: () => [track], getVideoTracks: () => [track] };
  }
}
