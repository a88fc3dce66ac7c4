// Orders about one remix: taking it down, paying it back.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { text } from "./operator-text.js";
import { field, line, needed, onSubmit } from "./owner-form.js";
import { card, confirmed, tell } from "./owner-frame.js";

const words = text.remixes;

/** Both forms, empty. */
export async function showOrders() {
  $("orders").replaceChildren(
    order(words.takedown, words.takedownHow, words.takedownAsk, async (path, reason) => {
      await json(`${path}/takedown`, { method: "PUT", body: { reason } });
      return words.takenDown;
    }),
    order(words.refund, words.refundHow, words.refundAsk, async (path, reason) => {
      const { reversals } = await json(`${path}/refund`, { method: "POST", body: { reason } });
      return words.refunded(reversals.length);
    }));
}

function order(title, how, ask, act) {
  const id = line({ maxlength: "40", required: true, spellcheck: "false", dir: "ltr", placeholder: "job_…" });
  const why = line({ maxlength: "200", required: true });
  const send = element("button", { class: "danger", text: title });
  const form = element("form", {}, element("p", { class: "hint", text: how }),
    field(words.id, id), field(words.why, why, { pointer: "/body/reason" }), send);
  onSubmit(form, send, async () => {
    const named = needed(id);
    if (!await confirmed(ask(named), [why.value, how], title, { danger: true })) return;
    const done = await act(`/v1/remixes/${encodeURIComponent(named)}`, needed(why));
    form.reset();
    tell(done);
  });
  return card(title, form);
}
