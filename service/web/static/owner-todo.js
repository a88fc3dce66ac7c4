// What waits for this party's word: grants to sign, changes of ownership, tracks that are held.

import { json } from "./api.js";
import { element } from "./elements.js";
import { field, line, onSubmit } from "./owner-form.js";
import { button, card, confirmed, fill, moment, row, tell } from "./owner-frame.js";
import { grantCard } from "./owner-grants.js";
import { percent } from "./money.js";
import { acting, every, trackName } from "./owner-session.js";
import { isolated, language, text } from "./owner-text.js";

/** Show all of it; `onChange` reloads what changed. */
export async function showTodo(onChange) {
  const [grants, proposals, disputes] = await Promise.all([
    every("/v1/grants?waiting=true"), every("/v1/ownership-proposals"), every("/v1/disputes?open=true")]);
  const names = await partyNames(proposals);
  const parts = [
    ["todo-grants", text.grants.none, grants.map((grant) => grantCard(grant, onChange, { opened: true }))],
    ["todo-proposals", text.proposals.none, proposals.map((version) => proposalCard(version, names, onChange))],
    ["todo-disputes", text.disputes.none, disputes.map((dispute) => disputeCard(dispute, onChange))],
  ];
  for (const [id, none, cards] of parts) fill(id, none, await Promise.all(cards));
  return grants.length + proposals.length + disputes.length;
}

/** The names of all parties that the proposals name; one that cannot be read keeps its id. */
export async function partyNames(proposals) {
  const names = new Map(proposals.flatMap((one) => one.agreements.map(({ party_id, name }) => [party_id, name])));
  const missing = new Set(proposals.flatMap((one) => one.shares.map((part) => part.party_id)).filter((id) => !names.has(id)));
  await Promise.all([...missing].map(async (id) => names.set(id, (await json(`/v1/parties/${id}`)).name)));
  return names;
}

async function proposalCard(version, names, onChange) {
  const words = text.proposals;
  const path = `/v1/tracks/${version.track_id}/ownership`;
  const agree = button(words.agree, async () => {
    if (!await confirmed(words.agreeAsk, [words.effect], words.agree)) return;
    const after = await json(`${path}/${version.version}/agreement`, { method: "POST" });
    await onChange();
    tell(words.afterAgreeing(after.state));
  }, { class: "primary" });
  return describedProposal(version, names, agree, declining(version, onChange));
}

/** The button that ends a proposal. */
export function declining(version, onChange) {
  const words = text.proposals;
  return button(words.decline, async () => {
    if (!await confirmed(words.declineAsk, [words.declineHow], words.decline)) return;
    await json(`/v1/tracks/${version.track_id}/ownership/${version.version}`, { method: "DELETE" });
    await onChange();
    tell(words.declined);
  }, { class: "quiet" });
}

/** The shares as they are and as they would be, who has agreed, and what the reader may do. */
export async function describedProposal(version, names, ...deciding) {
  const words = text.proposals;
  const path = `/v1/tracks/${version.track_id}/ownership`;
  const share = ({ party_id, side, ppm }) =>
    element("li", { text: words.share(percent(ppm, language), side, names.get(party_id) ?? party_id) });
  const shares = (parts) => element("ul", { class: "plain" }, ...parts.map(share));
  const { items } = await json(path);
  // Who is proposed as an owner for the first time does not read the present shares.
  const present = items.find((one) => one.state === "in_force");
  for (const part of present?.shares ?? []) {
    if (!names.has(part.party_id)) names.set(part.party_id, (await json(`/v1/parties/${part.party_id}`)).name);
  }
  return card(words.title(trackName(version.track_id), version.version),
    element("dl", { class: "credits" },
      ...(present ? [row(words.now, shares(present.shares))] : []),
      row(words.then, shares(version.shares)),
      row(words.waiting, version.agreements.map(({ name, agreed_at }) =>
        (agreed_at ? words.agreed(name) : isolated(name))).join(", "))),
    element("p", { class: "hint", text: words.effect }),
    element("div", { class: "row wrap" }, ...deciding));
}

function disputeCard(dispute, onChange) {
  return describedDispute(dispute, acting.tracks.has(dispute.earlier_track.id) ? release(dispute, onChange)
    : element("p", { class: "hint", text: text.disputes.wait }));
}

/** What is held, what it sounds like, and `deciding`: what the reader may do about it. */
export function describedDispute(dispute, deciding) {
  const words = text.disputes;
  const { track: later, earlier_track: earlier } = dispute;
  const described = (track) => row(track === later ? words.held : words.earlier,
    words.trackBy(track.title, track.artist), element("small", { text: [track.id, track.isrc].filter(Boolean).join(", ") }));
  const likeness = dispute.kind === "bytes" ? words.same
    : words.likeness(percent(Math.round(dispute.score * 1_000_000), language), dispute.offset_seconds.toFixed(1));
  return card(words.title(isolated(later.title), isolated(earlier.title)),
    element("dl", { class: "credits" }, described(later), described(earlier), row(words.since, moment(dispute.opened_at))),
    element("p", { text: likeness }),
    ...(dispute.releases_missing ? [element("p", { class: "hint", text: words.missing(dispute.releases_missing) })] : []), deciding);
}

function release(dispute, onChange) {
  const words = text.disputes;
  const reason = line({ minlength: "8", maxlength: "200", required: true });
  const submit = element("button", { class: "primary", text: words.release });
  const form = element("form", {},
    element("p", { class: "hint", text: words.releaseHow }), field(words.reason, reason, { pointer: "/body/reason" }), submit);
  onSubmit(form, submit, async () => {
    const after = await json(`/v1/disputes/${dispute.id}/decision`, {
      method: "POST", body: { decision: "release", reason: reason.value },
    });
    await onChange();
    tell(words.decided[after.state] ?? after.state);
  });
  return form;
}
