/** The fake peer connection keeps to the contract; test_sdk_in_chromium.py holds the real one to the same. */

import { describe, test } from "node:test";

import { peerConnectionContract } from "./contracts/peer-connection.mjs";
import { FakePeerConnection, FakeTrack } from "./fakes/peer-connection.mjs";

describe("the fake peer connection", () => {
  for (const { name, run } of peerConnectionContract) {
    test(name, () =>
      run({
        createPeerConnection: () => new FakePeerConnection(),
        audioTrack: () => new FakeTrack("audio"),
        videoTrack: () => new FakeTrack("video"),
      }),
    );
  }
});
