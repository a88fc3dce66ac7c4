// Disputes about held tracks, and changes of ownership that somebody does not agree to.

import { json } from "./api.js";
import { element } from "./elements.js";
import { text } from "./operator-text.js";
import { choice, field, line, onSubmit } from "./owner-form.js";
import { confirmed, fill, tell } from "./owner-frame.js";
import { every } from "./owner-session.js";
import { declining, describedDispute, describedProposal, partyNames } from "./owner-todo.js";

const reasonField = () => {
  const reason = line({ minlength: "8", maxlength: "200", required: true });
  return [reason, field(text.reason, reason, { pointer: "/body/reason" })];
};

/** The decisions that the service takes, in its own order: its OpenAPI document names them. */
async function decisions() {
  const { components } = await json("/openapi.json");
  return components.schemas.NewDecision.properties.decision.enum;
}

/** Disputes that are open, oldest last. */
export async function showDisputes(onChange) {
  const disputes = await every("/v1/disputes?open=true");
  const allowed = disputes.length ? await decisions() : [];
  fill("disputes", text.disputes.none, disputes.map((dispute) => describedDispute(dispute, deciding(dispute, allowed, onChange))));
}

function deciding(dispute, allowed, onChange) {
  const words = text.disputes;
  const said = (one) => words.decisions[one] ?? "";
  const decision = choice(allowed.map((one) => [one, one]));
  const meaning = element("p", { class: "hint", role: "status" });
  const explain = () => { meaning.textContent = said(decision.value); };
  decision.addEventListener("change", explain);
  explain();
  const [reason, why] = reasonField();
  const send = element("button", { class: "primary", text: words.button });
  const form = element("form", {},
    field(words.decision, decision, { pointer: "/body/decision" }), meaning, why, send);
  onSubmit(form, send, async () => {
    const body = { decision: decision.value, reason: reason.value };
    if (!await confirmed(words.ask(body.decision), [said(body.decision), body.reason, words.askHow], words.button, { danger: true })) return;
    const after = await json(`/v1/disputes/${dispute.id}/decision`, { method: "POST", body });
    await onChange();
    tell(words.decided(after.state));
  });
  return form;
}

/** Every proposal that is open: an operator may put it in force, or end it. */
export async function showProposals(onChange) {
  const items = await every("/v1/ownership-proposals");
  const names = await partyNames(items);
  fill("proposals", text.proposals.none, await Promise.all(items.map((version) =>
    describedProposal(version, names, enforcing(version, onChange), declining(version, onChange)))));
}

function enforcing(version, onChange) {
  const words = text.proposals;
  const [reason, why] = reasonField();
  const send = element("button", { class: "primary", text: words.button });
  const form = element("form", { class: "whole" }, why, send);
  onSubmit(form, send, async () => {
    const body = { reason: reason.value };
    if (!await confirmed(words.ask, [body.reason, words.askHow], words.button, { danger: true })) return;
    await json(`/v1/tracks/${version.track_id}/ownership/${version.version}/enforcement`, { method: "POST", body });
    await onChange();
    tell(words.done);
  });
  return form;
}
