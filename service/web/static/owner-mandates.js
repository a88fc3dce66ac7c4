// Mandates: who may sign for whom; signing one, ending one.

import { json } from "./api.js";
import { element } from "./elements.js";
import { button, card, confirmed, fill, row, tell } from "./owner-frame.js";
import { documentOf, signatureOver } from "./owner-grants.js";
import { whereKey } from "./owner-keys.js";
import { acting } from "./owner-session.js";
import { text } from "./owner-text.js";
import { MANDATE, Unreadable, read } from "./reading.js";

const words = text.mandates;

/** Show those that this party gave or has. */
export async function showMandates(onChange) {
  fill("mandates-content", words.none, await Promise.all(acting.mandates.map((one) => mandateCard(one, onChange))));
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
