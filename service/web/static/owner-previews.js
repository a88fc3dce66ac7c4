// Hearing what a template version makes of the track, before signing for it.

import { idempotencyKey, json, request } from "./api.js";
import { element, onPage } from "./elements.js";
import { choice, field, number, numberIn, onSubmit } from "./owner-form.js";
import { button, complain, confirmed, tell } from "./owner-frame.js";
import { isOperator } from "./owner-session.js";
import { text } from "./owner-text.js";
import { bindings } from "./words.js";

const words = text.previews;
const UNDER_WAY = ["queued", "running"];
const POLL_MS = 2000;
const EVERY = ""; // Stands for all styles in the form.

/** The previews of a template version, and a form that asks for another; asked for when opened. */
export function previewsOf({ template, version, terms }) {
  const made = element("details", { class: "document" }, element("summary", { text: words.title }));
  if (isOperator()) return element("p", { class: "hint", text: words.ownersOnly });
  made.addEventListener("toggle", () => {
    const path = `/v1/templates/${encodeURIComponent(template)}/versions/${version}/previews`;
    const list = new PreviewList(path);
    made.append(element("p", { class: "hint", text: words.how }), list.node, asking(path, terms.styles, list));
    list.follow().catch(complain);
  }, { once: true });
  return made;
}

/**
 * The rows of a version's previews. One request at a time follows all that are under way: a stream
 * for each would take every connection that a browser gives a page.
 */
class PreviewList {
  #path;
  #rows = new Map();
  #following = false;
  node = element("ul", { class: "plain previews" });

  constructor(path) {
    this.#path = path;
  }

  /** Show what there is, and go on until nothing is under way or the list is left. */
  async follow() {
    if (this.#following) return;
    this.#following = true;
    try {
      while (await this.#refresh() && onPage(this.node)) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    } finally {
      this.#following = false;
    }
  }

  async #refresh() {
    const { items } = await json(`${this.#path}?limit=100`);
    const kept = items.filter((preview) => preview.removed_at === null);
    const rows = kept.map((preview) => {
      const row = this.#rows.get(preview.id) ?? new PreviewRow(() => this.follow());
      row.show(preview);
      return [preview.id, row];
    });
    this.#rows = new Map(rows);
    const nodes = rows.map(([, row]) => row.node);
    const shown = [...this.node.children];
    // Only what changed is touched: a player that sounds would stop if it were moved.
    if (!nodes.length) this.node.replaceChildren(element("li", { class: "hint", text: words.none }));
    else if (nodes.length !== shown.length || nodes.some((node, at) => node !== shown[at])) {
      for (const node of shown) if (!nodes.includes(node)) node.remove();
      nodes.forEach((node, at) => { if (this.node.children[at] !== node) this.node.insertBefore(node, this.node.children[at] ?? null); });
    }
    return kept.some((preview) => UNDER_WAY.includes(preview.state));
  }
}

class PreviewRow {
  node = element("li", { class: "row wrap" });
  #said = element("span", { class: "grow" });
  #detail = element("small", { class: "hint" });
  #player = null;
  #preview = null;

  constructor(onGone) {
    this.hear = button(words.hear, () => this.#hear(), { class: "quiet" });
    this.drop = button(words.remove, async () => {
      const ends = UNDER_WAY.includes(this.#preview.state);
      if (!await confirmed(words.removeAsk, [ends ? words.endHow : words.removeHow], words.remove, { danger: true })) return;
      await json(this.#preview.links.self, { method: "DELETE" });
      this.#forget();
      await onGone();
      tell(words.removed);
    }, { class: "quiet" });
    this.node.append(this.#said, this.hear, this.drop, this.#detail);
  }

  show(preview) {
    this.#preview = preview;
    const said = words.preview({
      choices: [preview.choices.style, ...bindings(preview.choices)].join(", "),
      seed: preview.seed,
      state: words.states[preview.state] ?? preview.state,
      progress: preview.state === "running" ? Math.round(preview.progress * 100) : null,
      heard: preview.heard_at !== null,
    });
    if (this.#said.textContent !== said) this.#said.textContent = said;
    this.hear.hidden = !preview.links.audio || this.#player !== null;
    this.#detail.textContent = preview.detail ?? "";
  }

  /** Fetch the file, which notes that this party heard it, and then the player. */
  async #hear() {
    const { links, choices, seed } = this.#preview;
    const response = await request(links.audio);
    this.#player = element("audio", { controls: true, "aria-label": words.player(choices.style, seed) });
    this.#player.src = URL.createObjectURL(await response.blob());
    this.show(await json(links.self));
    this.node.append(this.#player);
    this.#player.focus();
  }

  #forget() {
    if (this.#player) URL.revokeObjectURL(this.#player.src);
    this.#player?.remove();
    this.#player = null;
  }
}

function asking(path, styles, list) {
  const style = choice([...styles.map((name) => [name, name]), ...(styles.length > 1 ? [[EVERY, words.everyStyle]] : [])]);
  const seed = number({ inputmode: "numeric", min: "0", max: "4294967295", step: "1", placeholder: words.drawn });
  const ask = element("button", { class: "quiet", text: words.ask });
  const form = element("form", { class: "row wrap" },
    field(words.style, style, { pointer: "/body/choices/style", wide: false }),
    field(words.seed, seed, { pointer: "/body/choices/seed", wide: false }), ask);
  onSubmit(form, ask, async () => {
    const chosen = style.value === EVERY ? styles : [style.value];
    const drawn = numberIn(seed);
    try {
      for (const name of chosen) {
        await json(path, {
          method: "POST",
          body: { choices: { style: name, ...(drawn !== null && { seed: drawn }) } },
          headers: { "Idempotency-Key": idempotencyKey() },
        });
      }
    } finally {
      list.follow().catch(complain); // Also where a later one was refused.
    }
    tell(words.asked(chosen.length));
  });
  return form;
}
