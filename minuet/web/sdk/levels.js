/**
 * How loud a track is, read from its samples. For drawing, so it smooths and never blocks.
 */

const SILENCE_DB = -60;
const LOUD_DB = -12;

export class LevelMeter {
  #analyser;
  #source;
  #samples;
  #bins;
  #level = 0;

  /**
   * A remote track must also be playing in an audio element, or Chromium gives silence.
   *
   * @param {AudioContext} context
   * @param {MediaStreamTrack} track
   */
  constructor(context, track) {
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#analyser.smoothingTimeConstant = 0.75;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#bins = new Uint8Array(this.#analyser.frequencyBinCount);
    this.#source = context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  /** From 0 (silence) to 1 (loud), rising at once and falling softly. Read it once a frame. */
  read() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-12);
    const loudness = Math.min(1, Math.max(0, (decibels - SILENCE_DB) / (LOUD_DB - SILENCE_DB)));
    this.#level = loudness > this.#level ? loudness : this.#level * 0.88 + loudness * 0.12;
    return this.#level;
  }

  /**
   * The loudness of `bands.length` frequency bands of the voice, each 0 to 1, written into `bands`.
   *
   * @param {Float32Array} bands
   */
  readBands(bands) {
    const bins = this.#bins;
    this.#analyser.getByteFrequencyData(bins);
    // Voices live below about 4 kHz: the lower sixth of the spectrum at 48 kHz.
    const used = Math.floor(bins.length / 6);
    for (let band = 0; band < bands.length; band += 1) {
      const from = Math.floor((band * used) / bands.length);
      const to = Math.max(from + 1, Math.floor(((band + 1) * used) / bands.length));
      let peak = 0;
      for (let bin = from; bin < to; bin += 1) peak = Math.max(peak, bins[bin]);
      bands[band] = peak / 255;
    }
    return bands;
  }

  close() {
    this.#source.disconnect();
    this.#analyser.disconnect();
  }
}
