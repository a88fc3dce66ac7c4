// The form: a song of the catalogue, and the choices its template allows.

import { $, element } from "./elements.js";

const TOGGLES = ["fills", "swing"];
const DENSITIES = { sparse: "Sparse", normal: "Normal", busy: "Busy" };
const SHORTEST_SECONDS = 0.5; // The API's own bound on a span.

/** Calls `onSong(offer)` when the listener picks a song, `onAsk(offer, choices)` when asked. */
export class AskForm {
  #offers = [];

  constructor({ onSong, onAsk }) {
    $("songs").addEventListener("change", () => {
      this.#showOffer();
      onSong(this.offer);
    });
    $("style-choices").addEventListener("change", () => this.#allowAsking());
    for (const [name, unit] of [["tempo", " %"], ["key", " semitones"]]) {
      $(name).addEventListener("input", () => this.#showValue(name, unit));
    }
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!$("ask-button").disabled) onAsk(this.offer, this.choices);
    });
  }

  /** The offer picked now: one template of one song. */
  get offer() {
    const picked = document.querySelector("#songs input:checked");
    return picked ? this.#offers[Number(picked.value)] : null;
  }

  /** What is asked for, as POST /v1/remixes takes it; what the song decides is left out. */
  get choices() {
    const seed = $("seed").value.trim();
    const set = TOGGLES.filter((name) => $(name).value !== "");
    return {
      style: document.querySelector("#style-choices input:checked")?.value,
      tempo_percent: Number($("tempo").value),
      key_semitones: Number($("key").value),
      format: $("format").value,
      ...(seed !== "" && { seed: Number(seed) }),
      ...($("density").value !== "" && { density: $("density").value }),
      ...Object.fromEntries(set.map((name) => [name, $(name).value === "true"])),
      ...this.#redo,
    };
  }

  /** The one span that the page can name: a blank is the song's own start or end. */
  get #redo() {
    const [from, to] = ["redo-from", "redo-to"].map((id) => $(id).value.trim());
    if (from === "" && to === "") return {};
    const end = Math.floor(this.offer.seconds * 1000) / 1000;
    return { redo: [{ start: Number(from), end: to === "" ? end : Number(to) }] };
  }

  /** List the offers; `wanted(offer)` says which one is picked at first. */
  show(offers, wanted = () => false) {
    this.#offers = offers;
    const chosen = Math.max(0, offers.findIndex(wanted));
    const legend = $("songs").querySelector("legend");
    $("songs").replaceChildren(legend, ...offers.map((offer, index) => element("label", {},
      element("input", { type: "radio", name: "song", value: String(index), checked: index === chosen }),
      element("span", { class: "tile" },
        element("b", { text: offer.title }),
        element("small", { text: `${offer.artist} · new ${offer.part}` })))));
    if (!offers.length) {
      $("songs").append(element("p", { class: "hint", text: "No song is open to you for remixing yet. `make demo` opens one." }));
    }
    this.#showOffer();
  }

  /** Pick an offer of a track; whether there is one. */
  pick(trackId) {
    const index = this.#offers.findIndex((offer) => offer.track_id === trackId);
    if (index < 0) return false;
    if (this.offer?.track_id !== trackId) {
      document.querySelector(`#songs input[value="${index}"]`).checked = true;
      this.#showOffer();
    }
    return true;
  }

  /** Pick a style, where the offer has it (that of a remix shown). */
  set style(style) {
    const input = [...document.querySelectorAll("#style-choices input")].find(({ value }) => value === style);
    if (input) input.checked = true;
  }

  /** Whether a remix may be asked for now (one at a time from this page). */
  set busy(value) {
    $("ask-button").dataset.busy = value ? "yes" : "";
    this.#allowAsking();
  }

  #showOffer() {
    const { offer } = this;
    if (!offer) return;
    $("part-name").textContent = offer.part;
    $("style-choices").replaceChildren(...offer.styles.map((style, index) => element("label", {},
      element("input", { type: "radio", name: "style", value: style, checked: index === 0 }),
      element("span", { text: style }))));
    for (const [name, bounds] of [["tempo", offer.tempo_percent], ["key", offer.key_semitones]]) {
      $(`${name}-field`).hidden = bounds.min === bounds.max;
      Object.assign($(name), { min: bounds.min, max: bounds.max, value: Math.min(Math.max(0, bounds.min), bounds.max) });
      $(name).dispatchEvent(new Event("input"));
    }
    this.#showControls(offer);
    this.#allowAsking();
  }

  /** The controls that template and checkpoint both have; the others are not there at all. */
  #showControls(offer) {
    $("density-field").hidden = !offer.densities.length;
    $("density").replaceChildren(element("option", { value: "", text: "As the song suggests" }),
      ...offer.densities.map((density) => element("option", { value: density, text: DENSITIES[density] ?? density })));
    for (const name of TOGGLES) {
      $(`${name}-field`).hidden = !offer[name];
      $(name).value = "";
    }
    const { seconds, redo_seconds: { min, max } } = offer;
    $("redo-field").hidden = !seconds || min > seconds || max < SHORTEST_SECONDS;
    for (const id of ["redo-from", "redo-to"]) Object.assign($(id), { value: "", max: seconds ?? "" });
    const whole = max >= seconds; // Else the artist wants only a part of it made anew.
    if (!whole) $("more").open = true;
    $("redo-hint").textContent = `${whole ? "Blank: all of it." : `At most ${max} s, and not all of it.`} `
      + `Outside it the ${offer.part} ${offer.part === "drums" ? "stay" : "stays"} as recorded.`;
  }

  #showValue(name, unit) {
    const value = Number($(name).value);
    $(`${name}-value`).textContent = value === 0 ? "as it is" : `${value > 0 ? "+" : "−"}${Math.abs(value)}${unit}`;
  }

  #allowAsking() {
    $("ask-button").disabled = !this.choices.style || $("ask-button").dataset.busy === "yes";
  }
}
