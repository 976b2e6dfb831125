// Runs before the page's own scripts and writes down what can only be seen while it happens.
(() => {
  const witness = { devices: [], said: [], toasts: [], offers: [], pictures: [] };
  Object.defineProperty(window, "__witness", { value: witness });

  const devices = navigator.mediaDevices;
  if (devices) {
    const getUserMedia = devices.getUserMedia.bind(devices);
    devices.getUserMedia = (constraints) => {
      witness.devices.push(...["audio", "video"].filter((kind) => constraints[kind]));
      return getUserMedia(constraints);
    };
  }

  // Each picture of the peer that the page lets onto the screen, and whether it may be seen at that moment.
  const source = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "srcObject");
  Object.defineProperty(HTMLMediaElement.prototype, "srcObject", {
    ...source,
    set(stream) {
      if (this.id === "remote-video" && stream) witness.pictures.push(window.__minuet?.call?.videoAllowed.peer ?? null);
      source.set.call(this, stream);
    },
  });

  document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
    console.error(`content policy: ${violatedDirective} ${blockedURI}`);
  });

  document.addEventListener("DOMContentLoaded", () => {
    const note = (id, list) => {
      const place = document.getElementById(id);
      new MutationObserver(() => place.textContent && list.push(place.textContent)).observe(place, { childList: true, characterData: true, subtree: true });
    };
    note("say", witness.said);
    note("toasts", witness.toasts);
  });
})();
