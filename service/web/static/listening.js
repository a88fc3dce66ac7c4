// The player on the page: waveforms, transport, A/B switch, keyboard and pointer.

import { Player } from "./player.js";
import { Waveform } from "./waveform.js";
import { clock } from "./words.js";

const STEP_SECONDS = 5;
const $ = (id) => document.getElementById(id);

export const player = new Player();
const waves = {
  original: new Waveform($("wave-original"), "original"),
  remix: new Waveform($("wave-remix"), "remix"),
};
const lanes = $("lanes");

/** Decode `blob` and show it as "original" or "remix". */
export async function load(name, blob) {
  waves[name].show(await player.load(name, await blob.arrayBuffer()));
}

export function unload(name) {
  waves[name].show(null);
  player.unload(name);
}

function refresh() {
  const ready = player.duration > 0;
  $("play").disabled = !ready;
  $("play").dataset.playing = player.playing;
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  lanes.setAttribute("aria-disabled", String(!ready));
  lanes.setAttribute("aria-valuemax", player.duration.toFixed(1));
  $("time-all").textContent = clock(player.duration);
  for (const input of document.querySelectorAll("#switch input")) {
    input.disabled = !player.buffer(input.value);
    input.checked = input.value === player.heard;
    $(`lane-${input.value}`).dataset.heard = String(input.checked);
  }
  tick();
}

function tick() {
  const { position, duration } = player;
  const progress = duration ? position / duration : 0;
  for (const [name, wave] of Object.entries(waves)) wave.update(progress, name === player.heard);
  $("time-now").textContent = clock(position);
  lanes.setAttribute("aria-valuenow", position.toFixed(1));
  lanes.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration)}`);
}

function frame() {
  if (player.playing) tick();
  requestAnimationFrame(frame);
}

const toggle = () => (player.playing ? player.pause() : player.play());

function point(event) {
  const { left, width } = lanes.getBoundingClientRect();
  player.seek(((event.clientX - left) / width) * player.duration);
}

function onSliderKey(event) {
  const to = {
    ArrowLeft: player.position - STEP_SECONDS,
    ArrowDown: player.position - STEP_SECONDS,
    ArrowRight: player.position + STEP_SECONDS,
    ArrowUp: player.position + STEP_SECONDS,
    Home: 0,
    End: player.duration,
  }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  player.seek(to);
}

function onPageKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target } = event;
  if (target.matches("input:not([type=radio]):not([type=range]), select, textarea")) return;
  const key = event.key.toLowerCase();
  if (key === "a") player.hear("original");
  else if (key === "b") player.hear("remix");
  else if (key === " " && !target.matches("button, a, summary, input")) {
    event.preventDefault();
    toggle();
  }
}

player.addEventListener("change", refresh);
$("play").addEventListener("click", toggle);
$("switch").addEventListener("change", (event) => player.hear(event.target.value));
lanes.addEventListener("keydown", onSliderKey);
lanes.addEventListener("pointerdown", (event) => {
  if (!player.duration || event.button !== 0) return;
  lanes.setPointerCapture(event.pointerId);
  point(event);
});
lanes.addEventListener("pointermove", (event) => {
  if (lanes.hasPointerCapture(event.pointerId)) point(event);
});
document.addEventListener("keydown", onPageKey);
requestAnimationFrame(frame);
refresh();
