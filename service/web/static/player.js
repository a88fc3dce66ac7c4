// Two recordings under one clock: switching between them never moves the position.

const SWITCH_SECONDS = 0.008; // Time constant of the crossfade: too short to hear, too long to click.
const START_SECONDS = 0.03;
const SAME_LENGTH_SECONDS = 0.05;

/**
 * Plays "original" or "remix". Both sources start at the same instant and only their gains change;
 * where a tempo change made the remix another length, switching keeps the musical position.
 * Dispatches "change" when it starts, stops, seeks, switches or loads.
 */
export class Player extends EventTarget {
  #context = null;
  #tracks = new Map(); // name -> { buffer, gain, source }
  #heard = "original";
  #offset = 0;
  #startedAt = 0;
  #playing = false;

  get heard() { return this.#heard; }
  get playing() { return this.#playing; }
  get duration() { return this.buffer(this.#heard)?.duration ?? 0; }

  /** Seconds into the recording that is heard. */
  get position() {
    if (!this.#playing) return this.#offset;
    return Math.min(Math.max(this.#context.currentTime - this.#startedAt, 0), this.duration);
  }

  /** The gains in force now, by name. */
  get gains() {
    return Object.fromEntries([...this.#tracks].map(([name, track]) => [name, track.gain.gain.value]));
  }

  buffer(name) { return this.#tracks.get(name)?.buffer ?? null; }

  /** Decode `bytes` (an ArrayBuffer, taken over) and make them playable as `name`. */
  async load(name, bytes) {
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
    const buffer = await this.#context.decodeAudioData(bytes);
    const position = this.position;
    const resume = this.#playing;
    this.#silence();
    const gain = this.#tracks.get(name)?.gain ?? this.#context.createGain();
    gain.connect(this.#context.destination);
    gain.gain.value = name === this.#heard ? 1 : 0;
    this.#tracks.set(name, { buffer, gain, source: null });
    this.#offset = Math.min(position, this.duration);
    if (resume) await this.play();
    this.#changed();
    return buffer;
  }

  /** Forget a recording; what else plays goes on, and the original is heard again. */
  unload(name) {
    if (!this.#tracks.has(name)) return;
    const position = this.position;
    const resume = this.#playing && name !== "original";
    this.#silence();
    this.#tracks.delete(name);
    this.#heard = "original";
    this.#offset = Math.min(position, this.duration);
    if (resume) this.play();
    this.#changed();
  }

  async play() {
    if (this.#playing || !this.duration) return;
    await this.#context.resume();
    if (this.#offset >= this.duration - 0.02) this.#offset = 0;
    const when = this.#context.currentTime + START_SECONDS;
    for (const [name, track] of this.#tracks) {
      track.gain.gain.cancelScheduledValues(0);
      track.gain.gain.value = name === this.#heard ? 1 : 0;
      if (name !== this.#heard && !this.#sameLength) continue;
      track.source = new AudioBufferSourceNode(this.#context, { buffer: track.buffer });
      track.source.connect(track.gain);
      track.source.start(when, this.#offset);
      if (name === this.#heard) {
        const { source } = track;
        source.onended = () => { if (track.source === source && this.#playing) this.#ended(); };
      }
    }
    this.#startedAt = when - this.#offset;
    this.#playing = true;
    this.#changed();
  }

  pause() {
    if (!this.#playing) return;
    const position = this.position;
    this.#silence();
    this.#offset = position;
    this.#changed();
  }

  async seek(seconds) {
    const resume = this.#playing;
    this.#silence();
    this.#offset = Math.min(Math.max(seconds, 0), this.duration);
    if (resume) await this.play();
    this.#changed();
  }

  /** Hear "original" or "remix" from the position where we are. */
  hear(name) {
    if (name === this.#heard || !this.#tracks.has(name)) return;
    const before = this.duration;
    const position = this.position;
    this.#heard = name;
    if (this.#sameLength) {
      for (const [other, track] of this.#tracks) {
        track.gain.gain.setTargetAtTime(other === name ? 1 : 0, this.#context.currentTime, SWITCH_SECONDS);
      }
      if (!this.#playing) this.#offset = Math.min(position, this.duration);
      this.#changed();
    } else {
      this.seek(before ? (position / before) * this.duration : 0);
    }
  }

  get #sameLength() {
    const lengths = [...this.#tracks.values()].map((track) => track.buffer.duration);
    return Math.max(...lengths) - Math.min(...lengths) <= SAME_LENGTH_SECONDS;
  }

  #silence() {
    this.#playing = false;
    for (const track of this.#tracks.values()) {
      const source = track.source;
      track.source = null;
      source?.stop();
      source?.disconnect();
    }
  }

  #ended() {
    this.#silence();
    this.#offset = 0;
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}
