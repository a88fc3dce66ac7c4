// Grants: what they say, read from the bytes that are signed; signing them; taking them back.

import { json } from "./api.js";
import { signPayload } from "./browser-keys.js";
import { $, element } from "./elements.js";
import { button, card, confirmed, fill, moment, once, row, tell } from "./owner-frame.js";
import { whereKey } from "./owner-keys.js";
import { previewsOf } from "./owner-previews.js";
import { acting, mandateOf, trackName } from "./owner-session.js";
import { isolated, text } from "./owner-text.js";
import { GRANT, Unreadable, read } from "./reading.js";
import { save } from "./saving.js";

const words = text.grants;
const LIVE = ["collecting", "open"];
const PAGE = 20;

/** Every grant that this party may read, newest first, page by page. */
export async function showGrants(onChange) {
  const list = element("div", { class: "cards" }); // A list of its own: what comes late finds it gone.
  $("grants-content").replaceChildren(list);
  $("grants-more").onclick = once($("grants-more"), () => addGrants(list, onChange));
  await addGrants(list, onChange);
}

async function addGrants(list, onChange) {
  const offset = list.children.length;
  const { items } = await json(`/v1/grants?limit=${PAGE}&offset=${offset}`);
  list.append(...await Promise.all(items.map((grant) => grantCard(grant, onChange))));
  if (!list.isConnected) return;
  $("grants-more").hidden = items.length < PAGE;
  if (offset + items.length === 0) fill("grants-content", words.noneAtAll, []);
}

/** The card of a grant. Everything about what it allows is read from its payload, nothing else. */
export async function grantCard(grant, onChange, { opened = false } = {}) {
  const title = (name) => `${name} · ${words.states[grant.state] ?? grant.state}`;
  let reading;
  try {
    reading = await read(grant.payload);
    if (reading.typ !== GRANT) throw new Unreadable(text.reading.unknownForm);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    return card(title(trackName(grant.track_id)), element("p", { class: "warning", text: words.unreadable(error.message) }),
      element("div", { class: "row wrap" }, ...revocation(grant, null, onChange)));
  }
  const { title: name } = reading.document.authorization_details.track;
  return card(title(isolated(name)), documentOf(reading, opened), standing(grant, reading),
    ...(opened && isOwner(grant) ? [hearing(reading)] : []),
    ...await actions(grant, reading, onChange));
}

function hearing({ document: { authorization_details: { template: named, terms } } }) {
  const [template, version] = named.split("@");
  return previewsOf({ template, version: Number(version), terms });
}

// An operator sees every track; what an owner alone may do is offered to owners.
const isOwner = (grant) => acting.tracks.get(grant.track_id)?.shares.some((share) => share.party_id === acting.party.id);

/** What a document says, line by line, and its fingerprint. */
export function documentOf(reading, opened) {
  return element("details", { class: "document", open: opened },
    element("summary", { text: words.payload }),
    element("dl", { class: "credits" },
      ...reading.lines.map(({ label, value }) => row(label, value)),
      row(words.hash, element("code", { text: reading.sha256 }))));
}

function standing(grant, reading) {
  const names = new Map(reading.signers.map((signer) => [signer.party, signer.name]));
  for (const mandate of acting.mandates) for (const one of [mandate.agent, mandate.grantor]) names.set(one.party_id, one.name);
  const signer = (one) => element("li", { text: words.signer({
    name: one.name,
    signed: one.signed,
    at: one.signed_at && moment(one.signed_at),
    by: one.mandate_id && (names.get(one.signed_by) ?? one.signed_by),
    mandate: one.mandate_id,
    custody: one.custody,
    heard: one.heard.length,
  }) });
  return element("details", { class: "document", open: true },
    element("summary", { text: words.service }),
    element("dl", { class: "credits" },
      row(words.state, words.states[grant.state] ?? grant.state),
      row(words.signatures, element("ul", { class: "plain" }, ...grant.required_signers.map(signer))),
      ...(grant.revoked_at ? [row(words.ended, moment(grant.revoked_at))] : [])));
}

async function actions(grant, reading, onChange) {
  const made = [];
  const notes = [];
  if (LIVE.includes(grant.state)) {
    const { where, key } = await whereKey();
    for (const who of unsigned(grant, reading)) {
      if (where === "elsewhere" || where === "lost") {
        notes.push(where === "lost" ? words.keyLost : words.keyElsewhere);
        continue;
      }
      const label = who.mandate ? words.signFor(who.name) : who.again ? words.signOwn : words.sign;
      made.push(button(label, () => sign(grant, reading, who, key, onChange), { class: who.again ? "quiet" : "primary" }));
    }
  }
  made.push(...revocation(grant, reading, onChange));
  if (grant.state === "superseded") made.push(button(words.renew, async () => {
    await json(`/v1/grants/${grant.id}/renewal`, { method: "POST" });
    await onChange();
    tell(words.renewed);
  }));
  made.push(button(words.save, () => {
    save(new Blob([JSON.stringify(grant, null, 2)], { type: "application/json" }), `${grant.id}.json`);
  }, { class: "quiet" }));
  return [...new Set(notes)].map((note) => element("p", { class: "hint", text: note }))
    .concat(element("div", { class: "row wrap" }, ...made));
}

/**
 * For whom this party may sign and has not: itself, and who gave it a mandate. What its agent signed
 * for it, it may sign itself: that stands when the mandate ends.
 */
function unsigned(grant, reading) {
  const named = new Set(reading.signers.map((signer) => signer.party));
  return grant.required_signers.filter((one) => named.has(one.party_id)).flatMap((one) => {
    const own = one.party_id === acting.party.id;
    if (one.signed && !(own && one.mandate_id)) return [];
    if (own) return [{ party: one.party_id, name: one.name, mandate: null, again: one.signed }];
    const mandate = mandateOf(one.party_id, reading.document.authorization_details.track.id);
    return mandate ? [{ party: one.party_id, name: one.name, mandate }] : [];
  });
}

/** A signature over a payload as the API takes it: by this browser's key, or by the service's. */
export async function signatureOver(reading, key, mandate = null) {
  if (key) return signPayload(key, reading.typ, reading.payload, mandate ? { mandate: mandate.reference } : {});
  return { custody: true, ...(mandate && { mandate_id: mandate.id }) };
}

async function sign(grant, reading, { party, name, mandate }, key, onChange) {
  const { track } = reading.document.authorization_details;
  const asked = await confirmed(words.signAsk(isolated(track.title)), [
    words.signHow,
    ...(mandate ? [words.under(name, mandate.id)] : []),
    key ? words.withHere(key.kid) : words.withService,
    words.signHash(reading.sha256),
  ], words.sign);
  if (!asked) return;
  const body = { ...await signatureOver(reading, key, mandate), ...(mandate && { on_behalf_of: party }) };
  const after = await json(`/v1/grants/${grant.id}/signatures`, { method: "POST", body });
  if (after.payload !== reading.payload) throw new Error(words.notSame);
  await onChange();
  tell(words.signed(after.state));
}

function revocation(grant, reading, onChange) {
  if (!LIVE.includes(grant.state) || !isOwner(grant)) return [];
  return [button(words.revoke, async () => {
    const agreed = reading?.document.authorization_details.terms;
    const after = !agreed ? words.revokeUnknown
      : agreed.on_revocation === "takedown" ? words.revokeTakedown : words.revokeKeep;
    const asked = await confirmed(words.revokeAsk(trackName(grant.track_id)),
      [words.revokeHow, after, words.revokeAgain], words.revoke, { danger: true });
    if (!asked) return;
    await json(`/v1/grants/${grant.id}`, { method: "DELETE" });
    await onChange();
    tell(words.revoked);
  }, { class: "danger" })];
}
