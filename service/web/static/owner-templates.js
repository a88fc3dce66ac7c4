// Templates of a track: their versions, what each would let listeners make, and a grant of one.

import { json } from "./api.js";
import { element } from "./elements.js";
import { Misfit, field, localMoment, moment, momentIn, onSubmit } from "./owner-form.js";
import { button, card, confirmed, moment as said, row, tell } from "./owner-frame.js";
import { previewsOf } from "./owner-previews.js";
import { every } from "./owner-session.js";
import { text } from "./owner-text.js";
import { termsForm } from "./owner-terms.js";
import { Unreadable, linesOf } from "./reading.js";

const words = text.templates;
const YEAR_MS = 365 * 24 * 3600 * 1000;

/** Cards: the form for a template, and every version that there is, newest first. */
export async function templatesOf(track, onChange) {
  const [items, options] = await Promise.all([
    every(`/v1/templates?track_id=${track.id}`), json("/v1/template-options")]);
  const making = element("details", { class: "card", open: items.length === 0 }, element("summary", { text: words.make }),
    element("p", { class: "hint", text: words.makeHow }),
    termsForm({ options, track, label: words.makeButton, onSend: async (terms) => {
      const made = await json("/v1/templates", { method: "POST", body: { track_id: track.id, terms } });
      await onChange();
      tell(words.made(made.version));
    } }));
  return [making, ...items.map((version) => versionCard(version, { track, options, onChange }))];
}

function versionCard(version, { track, options, onChange }) {
  const { template_id: template, version: number, terms, discarded_at: discarded } = version;
  const path = `/v1/templates/${template}/versions/${number}`;
  const heading = words.title(number, terms.part, discarded ? words.discarded : said(version.created_at));
  const content = element("details", { class: "document" }, element("summary", { text: words.terms }),
    element("dl", { class: "credits" }, ...readable(terms), row(words.id, element("code", { text: `${template}@${number}` })),
      row(text.grants.hash, element("code", { text: version.sha256 }))));
  if (discarded) return card(heading, content);
  return card(heading, content, previews(version), granting(version, onChange),
    lazily(words.next, () => [element("p", { class: "hint", text: words.nextHow }),
      termsForm({ options, track, base: terms, label: words.nextButton, onSend: async (changed) => {
        const made = await json(`/v1/templates/${template}/versions`, { method: "POST", body: { terms: changed } });
        await onChange();
        tell(words.made(made.version));
      } })]),
    element("div", { class: "row wrap" }, button(words.discard, async () => {
      if (!await confirmed(words.discardAsk(number), [words.discardHow], words.discard, { danger: true })) return;
      await json(path, { method: "DELETE" });
      await onChange();
      tell(words.discardDone);
    }, { class: "danger" })));
}

/** The terms as they will be read by whoever signs them. */
function readable(terms) {
  try {
    return linesOf(terms).map(({ label, value }) => row(label, value));
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return [element("p", { class: "warning", text: text.grants.unreadable(error.message) })];
  }
}

/** What is asked for only when it is opened: each version has previews of its own. */
function lazily(summary, make) {
  const made = element("details", { class: "document" }, element("summary", { text: summary }));
  made.addEventListener("toggle", async () => made.append(...await make()), { once: true });
  return made;
}

const previews = ({ template_id: template, version, terms }) => previewsOf({ template, version, terms });

function granting({ template_id: template, version, terms }, onChange) {
  const from = moment();
  const until = moment({ required: true, value: localMoment(terms.not_after ?? Date.now() + YEAR_MS) });
  const make = element("button", { class: "primary", text: words.grantButton });
  const form = element("form", {}, element("p", { class: "hint", text: words.grantHow }),
    element("div", { class: "row wrap" },
      field(words.grantFrom, from, { pointer: "/body/not_before" }), field(words.grantUntil, until, { pointer: "/body/expires_at" })), make);
  onSubmit(form, make, async () => {
    if (from.value && from.value >= until.value) throw new Misfit(until, text.terms.datesWrong);
    const begins = momentIn(from);
    await json("/v1/grants", {
      method: "POST",
      body: { template_id: template, version, expires_at: momentIn(until), ...(begins && { not_before: begins }) },
    });
    await onChange();
    tell(words.granted);
  });
  return element("details", { class: "document" }, element("summary", { text: words.grant }), form);
}
