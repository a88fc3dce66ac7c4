// Mandates: who may sign for whom; signing one, ending one.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { box, choice, field, line, localMoment, moment, momentIn, needed, onSubmit, tick } from "./owner-form.js";
import { button, card, confirmed, fill, row, tell } from "./owner-frame.js";
import { documentOf, signatureOver } from "./owner-grants.js";
import { whereKey } from "./owner-keys.js";
import { acting } from "./owner-session.js";
import { text } from "./owner-text.js";
import { MANDATE, Unreadable, read } from "./reading.js";

const words = text.mandates;
const EVERY = "*";
const YEAR_MS = 365 * 24 * 3600 * 1000;

/** Show those that this party gave or has. */
export async function showMandates(onChange) {
  fill("mandates-content", words.none, await Promise.all(acting.mandates.map((one) => mandateCard(one, onChange))));
  $("mandates-new").replaceChildren(giving(onChange));
}

/** The form that makes one; it is signed like any other that waits. */
function giving(onChange) {
  const said = text.giving;
  const agent = line({ maxlength: "40", spellcheck: "false", dir: "ltr", required: true, placeholder: "pty_…" });
  const tracks = choice([[EVERY, said.every], ...[...acting.tracks.values()].map((track) => [track.id, track.title])]);
  const training = box();
  const until = moment({ required: true, value: localMoment(Date.now() + YEAR_MS) });
  const make = element("button", { class: "quiet", text: said.button });
  const form = element("form", {}, element("p", { class: "hint", text: said.how }),
    field(said.agent, agent, { pointer: "/body/agent" }),
    field(said.tracks, tracks, { pointer: "/body/tracks" }),
    tick(said.training, training, { pointer: "/body/purposes" }),
    field(said.until, until, { pointer: "/body/expires_at" }), make);
  onSubmit(form, make, async () => {
    await json("/v1/mandates", {
      method: "POST",
      body: {
        grantor: acting.party.id,
        agent: needed(agent),
        tracks: tracks.value === EVERY ? EVERY : [tracks.value],
        purposes: training.checked ? ["remix", "training"] : ["remix"],
        expires_at: momentIn(until),
      },
    });
    await onChange();
    tell(said.made);
  });
  return element("details", { class: "card" }, element("summary", { text: said.summary }), form);
}

async function mandateCard(mandate, onChange) {
  const title = words.title(mandate.grantor.name, mandate.agent.name);
  const state = element("dl", { class: "credits" }, row(text.grants.state, words.states[mandate.state] ?? mandate.state));
  const ending = mandate.state === "revoked" ? [] : [button(words.end, () => end(mandate, onChange), { class: "danger" })];
  let reading;
  try {
    reading = await read(mandate.payload);
    if (reading.typ !== MANDATE) throw new Unreadable(text.reading.unknownForm);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return card(title, element("p", { class: "warning", text: text.grants.unreadable(error.message) }), state, ...ending);
  }
  const mine = reading.document.grantor.party === acting.party.id;
  const waits = mandate.state !== "revoked" && !mandate.signed && mine;
  const { where, key } = await whereKey();
  const able = where === "here" || where === "service";
  return card(title, documentOf(reading, waits), state,
    ...(waits && !able ? [element("p", { class: "hint", text: where === "lost" ? text.grants.keyLost : text.grants.keyElsewhere })] : []),
    element("div", { class: "row wrap" },
      ...(waits && able ? [button(text.grants.sign, () => sign(mandate, reading, key, onChange), { class: "primary" })] : []),
      ...ending));
}

async function sign(mandate, reading, key, onChange) {
  const asked = await confirmed(words.signAsk, [
    words.signHow(reading.document.agent.name),
    key ? text.grants.withHere(key.kid) : text.grants.withService,
    text.grants.signHash(reading.sha256),
  ], text.grants.sign);
  if (!asked) return;
  const after = await json(`/v1/mandates/${mandate.id}/signature`, { method: "POST", body: await signatureOver(reading, key) });
  if (after.payload !== reading.payload) throw new Error(text.grants.notSame);
  await onChange();
  tell(words.signed);
}

async function end(mandate, onChange) {
  if (!await confirmed(words.endAsk, [words.endHow], words.end, { danger: true })) return;
  await json(`/v1/mandates/${mandate.id}`, { method: "DELETE" });
  await onChange();
  tell(words.ended);
}
