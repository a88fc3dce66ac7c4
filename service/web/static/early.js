// The beginning of a remix, heard while the rest is made: excerpts, one after the other.

import { request } from "./api.js";
import { $ } from "./elements.js";
import { player } from "./listening.js";

const LEAD_SECONDS = 0.05; // Time to hand a piece to the sound card.
const RATE = 44_100; // Of every excerpt: nothing is resampled, so pieces join without a seam.

class Early {
  #context = null;
  #pieces = []; // { start, buffer }, in order
  #sources = [];
  #origin = 0; // The context's time at which second 0 of the remix was, or would have been.
  #wanted = false;
  #coming = Promise.resolve();

  /** Whether it is heard now, or waits for the next piece. */
  get playing() { return this.#wanted && this.#pieces.length > 0; }

  /** Seconds of the remix that can be heard. */
  get known() {
    const last = this.#pieces.at(-1);
    return last ? last.start + last.buffer.duration : 0;
  }

  /** Seconds into the remix that is heard. */
  get position() {
    if (!this.#sources.length) return 0;
    return Math.min(Math.max(this.#context.currentTime - this.#origin, 0), this.known);
  }

  /** A new remix: what was heard of another is forgotten. It plays by itself unless something does. */
  begin() {
    this.end();
    // Without a gesture on this page (it was loaded anew) browsers play nothing by themselves.
    this.#wanted = !player.playing && (navigator.userActivation?.hasBeenActive ?? true);
  }

  /** Fetch an excerpt and let it follow those before it. */
  add(path, { number, start_seconds: start }, signal) {
    this.#coming = this.#coming.then(async () => {
      const response = await request(`${path}/excerpts/${number}`, { signal });
      const bytes = await response.arrayBuffer();
      if (signal.aborted) return;
      this.#context ??= new AudioContext({ sampleRate: RATE });
      this.#pieces.push({ start, buffer: await this.#context.decodeAudioData(bytes) });
      if (this.#wanted) await this.play();
      this.#show();
      // It is a courtesy: the remix itself comes, whatever becomes of an excerpt.
    }).catch(() => {});
  }

  async play() {
    this.#wanted = true;
    if (player.playing) player.pause();
    await this.#context.resume();
    for (const { start, buffer } of this.#pieces.slice(this.#sources.length)) {
      const earliest = this.#context.currentTime + LEAD_SECONDS;
      // The first one, or one that is late: it is heard now, and what follows follows it.
      if (!this.#sources.length || this.#origin + start < earliest) this.#origin = earliest - start;
      const source = new AudioBufferSourceNode(this.#context, { buffer });
      source.connect(this.#context.destination);
      source.start(this.#origin + start);
      this.#sources.push(source);
    }
    this.#show();
  }

  /** Be silent; `play` begins anew. */
  stop() {
    this.#wanted = false;
    this.#silence();
    this.#show();
  }

  /** The remix is there, or never will be; gives the second that was heard last, or null. */
  end() {
    const heard = this.playing && this.#sources.length ? this.position : null;
    this.#wanted = false;
    this.#silence();
    this.#pieces = [];
    this.#coming = Promise.resolve();
    this.#show();
    return heard;
  }

  #silence() {
    for (const source of this.#sources) {
      source.stop();
      source.disconnect();
    }
    this.#sources = [];
  }

  #show() {
    $("early").hidden = !this.#pieces.length;
    $("early-toggle").textContent = this.#wanted ? "Stop" : "Hear its beginning";
    $("early-status").textContent = this.#wanted
      ? "You hear its beginning while the rest is made: one of several takes, the best is chosen at the end."
      : "Its beginning can be heard already.";
  }
}

export const early = new Early();
$("early-toggle").addEventListener("click", () => (early.playing ? early.stop() : early.play()));
player.addEventListener("change", () => { if (player.playing && early.playing) early.stop(); });
