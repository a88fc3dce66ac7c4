// The gate's decisions about all tracks, newest first.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { text as own } from "./operator-text.js";
import { choice, field, line, onSubmit } from "./owner-form.js";
import { button } from "./owner-frame.js";
import { decisionTable } from "./owner-record.js";
import { text } from "./owner-text.js";

const words = own.record;
const PAGE = 50;

/** The filters, and the newest decisions. */
export async function prepareDecisions() {
  const filters = { track_id: line({ maxlength: "40", dir: "ltr" }), grant_id: line({ maxlength: "40", dir: "ltr" }), job_id: line({ maxlength: "40", dir: "ltr" }) };
  const opened = choice([["", text.page.anyAnswer], ["true", text.page.openedOnly], ["false", text.page.shutOnly]]);
  const show = element("button", { class: "primary", text: words.show });
  const form = element("form", { class: "row wrap" }, field(words.track, filters.track_id), field(words.grant, filters.grant_id),
    field(words.job, filters.job_id), field(text.page.answer, opened), show);
  const count = element("p", { class: "hint", role: "status" });
  const place = element("div", { class: "card" });
  let shown = [];
  const load = async (before) => {
    const asked = new URLSearchParams({ limit: PAGE });
    for (const [name, control] of Object.entries(filters)) if (control.value.trim()) asked.set(name, control.value.trim());
    if (opened.value) asked.set("opened", opened.value);
    if (before) asked.set("before", before);
    const list = shown;
    const { items } = await json(`/v1/decisions?${asked}`);
    if (list !== shown) return; // Another filter was chosen meanwhile.
    list.push(...items);
    earlier.hidden = items.length < PAGE;
    count.textContent = text.record.shown(list.length);
    place.replaceChildren(list.length ? decisionTable(list) : element("p", { class: "hint", text: text.record.none }));
  };
  const earlier = button(text.page.earlier, () => load(shown.at(-1)?.id), { class: "quiet", hidden: true });
  onSubmit(form, show, () => {
    shown = [];
    return load();
  });
  $("decisions").replaceChildren(element("div", { class: "cards" }, form, count, place, earlier));
  await load();
}
