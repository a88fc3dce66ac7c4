// A waveform on a canvas, drawn crisp at the device's own pixels.

const BAR = 2;
const GAP = 1;

/** Peak and RMS of `buffer` (0..1, the louder channel) in `columns` equal slices. */
function envelope(buffer, columns) {
  const peaks = new Float32Array(columns);
  const means = new Float32Array(columns);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let column = 0; column < columns; column++) {
      const from = Math.floor((column * samples.length) / columns);
      const to = Math.max(from + 1, Math.floor(((column + 1) * samples.length) / columns));
      let peak = 0;
      let sum = 0;
      for (let i = from; i < to; i++) {
        const value = Math.abs(samples[i]);
        if (value > peak) peak = value;
        sum += value * value;
      }
      peaks[column] = Math.max(peaks[column], peak);
      means[column] = Math.max(means[column], Math.sqrt(sum / (to - from)));
    }
  }
  return { peaks, means };
}

/** Draws one recording; `progress` (0..1) colours what has been played. */
export class Waveform {
  #canvas;
  #name;
  #buffer = null;
  #envelope = null;
  #progress = 0;
  #heard = false;
  #colours = null;

  /** `name` chooses the colours `--name` and `--name-rest` of the style sheet. */
  constructor(canvas, name) {
    this.#canvas = canvas;
    this.#name = name;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#resize());
  }

  show(buffer) {
    this.#buffer = buffer;
    this.#resize();
  }

  update(progress, heard) {
    if (progress === this.#progress && heard === this.#heard) return;
    this.#progress = progress;
    this.#heard = heard;
    this.#draw();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    const style = getComputedStyle(this.#canvas);
    this.#colours = ["", "-rest"].map((end) => style.getPropertyValue(`--${this.#name}${end}`).trim());
    const columns = Math.floor(clientWidth / (BAR + GAP));
    this.#envelope = this.#buffer && columns > 0 ? envelope(this.#buffer, columns) : null;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.#envelope) return;
    const ratio = window.devicePixelRatio || 1;
    const { peaks, means } = this.#envelope;
    const step = (BAR + GAP) * ratio;
    const middle = Math.round(height / 2);
    const [colour, rest] = this.#colours;
    const played = this.#progress * width;
    for (let column = 0; column < peaks.length; column++) {
      const x = Math.round(column * step);
      const thick = Math.max(1, Math.round(BAR * ratio));
      const solid = x + thick <= played;
      for (const [values, fill, alpha] of [[peaks, solid ? colour : rest, solid ? 0.5 : 0.8], [means, colour, solid ? 1 : 0.35]]) {
        const half = Math.max(ratio / 2, values[column] * middle * 0.98);
        context.globalAlpha = alpha * (this.#heard ? 1 : 0.55);
        context.fillStyle = fill;
        context.fillRect(x, Math.round(middle - half), thick, Math.max(1, Math.round(half * 2)));
      }
    }
    context.globalAlpha = 1;
    if (this.#progress > 0) {
      context.fillStyle = colour;
      context.fillRect(Math.round(played), 0, Math.max(1, Math.round(ratio)), height);
    }
  }
}
