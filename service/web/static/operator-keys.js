// Keys of parties that lost theirs: reporting a loss for one, letting in a new key.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { text } from "./operator-text.js";
import { Misfit, field, line, moment, momentIn, needed, onSubmit } from "./owner-form.js";
import { card, confirmed, tell } from "./owner-frame.js";

const words = text.recovery;

/** Both forms, empty. */
export async function showRecovery() {
  $("recovery").replaceChildren(recovery(), loss());
}

const party = (id) => json(`/v1/parties/${encodeURIComponent(id)}`);

function recovery() {
  const pasted = element("textarea", { rows: "8", spellcheck: "false", dir: "ltr", required: true });
  const known = line({ minlength: "8", maxlength: "200", required: true });
  const send = element("button", { class: "primary", text: words.button });
  const form = element("form", {}, field(words.pasted, pasted, { hint: words.pastedHow, pointer: "/body" }),
    field(words.known, known, { pointer: "/body/reason" }), send);
  onSubmit(form, send, async () => {
    const { party: id, lost_kid: kid, public_key: key, proof } = sent(pasted);
    const { name } = await party(id);
    if (!await confirmed(words.ask(name), [words.askWho(id, kid), known.value, words.askHow], words.button, { danger: true })) return;
    const made = await json(`/v1/parties/${encodeURIComponent(id)}/keys/${encodeURIComponent(kid)}/recovery`, {
      method: "POST", body: { public_key: key, proof, reason: known.value },
    });
    form.reset();
    tell(words.done(made.kid));
  });
  return card(words.title, form);
}

function sent(control) {
  let found = null;
  try {
    found = JSON.parse(control.value);
  } catch { /* Said below. */ }
  const whole = found && ["party", "lost_kid", "proof"].every((name) => typeof found[name] === "string") && found.public_key;
  if (!whole) throw new Misfit(control, words.unreadable);
  return found;
}

function loss() {
  const id = line({ maxlength: "40", required: true, spellcheck: "false", dir: "ltr", placeholder: "pty_…" });
  const kid = line({ maxlength: "64", required: true, spellcheck: "false", dir: "ltr" });
  const since = moment();
  // The present key is the one that is mostly meant.
  id.addEventListener("change", () => party(id.value.trim()).then((found) => { kid.value ||= found.kid; }, () => {}));
  const send = element("button", { class: "danger", text: words.lossButton });
  const form = element("form", {}, element("p", { class: "hint", text: words.lossHow }),
    field(words.party, id), field(words.kid, kid), field(words.since, since, { pointer: "/body/lost_since" }), send);
  onSubmit(form, send, async () => {
    const { name } = await party(needed(id));
    if (!await confirmed(words.lossAsk(name, kid.value), [words.lossAskHow], words.lossButton, { danger: true })) return;
    const at = momentIn(since);
    const lost = await json(`/v1/parties/${encodeURIComponent(needed(id))}/keys/${encodeURIComponent(needed(kid))}/loss`, {
      method: "POST", body: at ? { lost_since: at } : {},
    });
    form.reset();
    tell(words.lossDone(lost.items.length));
  });
  return card(words.lossTitle, form);
}
