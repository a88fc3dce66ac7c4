// The form: a song of the catalogue, and the choices its template allows.

const $ = (id) => document.getElementById(id);

/** An element with text, classes and attributes. */
export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

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

  /** What is asked for, as POST /v1/remixes takes it. */
  get choices() {
    const seed = $("seed").value.trim();
    return {
      style: document.querySelector("#style-choices input:checked")?.value,
      tempo_percent: Number($("tempo").value),
      key_semitones: Number($("key").value),
      format: $("format").value,
      ...(seed !== "" && { seed: Number(seed) }),
    };
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
    this.#allowAsking();
  }

  #showValue(name, unit) {
    const value = Number($(name).value);
    $(`${name}-value`).textContent = value === 0 ? "as it is" : `${value > 0 ? "+" : "−"}${Math.abs(value)}${unit}`;
  }

  #allowAsking() {
    $("ask-button").disabled = !this.choices.style || $("ask-button").dataset.busy === "yes";
  }
}
