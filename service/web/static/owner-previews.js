// Hearing what a template version makes of the track, before signing for it.

import { events, idempotencyKey, json, request } from "./api.js";
import { element } from "./elements.js";
import { button, complain, once, tell } from "./owner-frame.js";
import { text } from "./owner-text.js";
import { bindings } from "./words.js";

const words = text.previews;

/** The previews of the template version that a grant names, and a form that asks for another. */
export async function previewsOf(reading) {
  const [template, version] = reading.document.authorization_details.template.split("@");
  const path = `/v1/templates/${template}/versions/${version}/previews`;
  const list = element("ul", { class: "plain previews" });
  const { items } = await json(path);
  list.replaceChildren(...items.map(previewRow));
  if (!items.length) list.replaceChildren(element("li", { class: "hint", text: words.none }));
  return element("details", { class: "document" },
    element("summary", { text: words.title }),
    element("p", { class: "hint", text: words.how }),
    list, asking(path, reading.document.authorization_details.terms.styles, list));
}

function previewRow(preview) {
  const row = element("li", { class: "row wrap" });
  const show = (told) => {
    const said = element("span", { class: "grow", text: words.preview({
      choices: [told.choices.style, ...bindings(told.choices)].join(", "),
      seed: told.seed,
      state: words.states[told.state] ?? told.state,
      heard: told.heard_at !== null,
    }) });
    row.replaceChildren(said, ...(told.links.audio ? [hearing(told, show)] : []),
      ...(told.detail ? [element("small", { class: "hint", text: told.detail })] : []));
  };
  show(preview);
  if (["queued", "running"].includes(preview.state)) watch(preview, show).catch(complain);
  return row;
}

/** Follow a preview to its end, and show it then, if its row is still on the page. */
async function watch(preview, show) {
  for await (const _event of events(preview.links.events, AbortSignal.timeout(3_600_000))) { /* To its end. */ }
  show(await json(preview.links.self));
}

/** The button that fetches the file, which notes that this party heard it, and then the player. */
function hearing(preview, show) {
  const hear = button(words.hear, async () => {
    const response = await request(preview.links.audio);
    const label = words.player(preview.choices.style, preview.seed);
    const player = element("audio", { controls: true, "aria-label": label });
    player.src = URL.createObjectURL(await response.blob());
    const row = hear.closest("li");
    show({ ...await json(preview.links.self), links: { ...preview.links, audio: null } });
    row.append(player);
    player.focus();
  }, { class: "quiet" });
  return hear;
}

function asking(path, styles, list) {
  const style = element("select", {}, ...styles.map((name) => element("option", { text: name })));
  const seed = element("input", { type: "number", inputmode: "numeric", min: "0", max: "4294967295", step: "1", placeholder: words.drawn });
  const ask = element("button", { class: "quiet", text: words.ask });
  const form = element("form", { class: "row wrap" },
    element("label", { class: "field" }, element("span", { text: words.style }), style),
    element("label", { class: "field" }, element("span", { text: words.seed }), seed), ask);
  form.addEventListener("submit", once(ask, async () => {
    const choices = { style: style.value, ...(seed.value && { seed: Number(seed.value) }) };
    const preview = await json(path, { method: "POST", body: { choices }, headers: { "Idempotency-Key": idempotencyKey() } });
    list.querySelector("li.hint")?.remove();
    list.prepend(previewRow(preview));
    tell(words.asked);
  }));
  return form;
}
