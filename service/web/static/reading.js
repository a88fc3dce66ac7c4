// What a document to sign says, in plain words, and nothing that it does not say.
//
// It is read from the very bytes that are signed and from nothing else. A document is read only if
// it is canonical (RFC 8785), of a form that this page knows, and without a character that would
// show another text than is there: then what is shown is all of it.

import { base64url, bytesOf, canonical, hex, sha256 } from "./canonical.js";
import { amount, percent } from "./money.js";
import { isolated, language, text } from "./owner-text.js";

export const GRANT = "remix-grant+jws";
export const MANDATE = "signing-mandate+jws";
// Control, unassigned and private characters, line separators, and what turns the text around
// (UAX 9) or is not seen at all: a name with one of them would show another document.
const HIDDEN = /[\p{Cc}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u00AD\u034F\u3164\u{E0000}-\u{E007F}\u200B\u200E\u200F\u061C\u2060\uFEFF\u202A-\u202E\u2066-\u2069]/u;
const words = text.reading;

/** The document is not one to sign; its words say why. */
export class Unreadable extends Error {}

/** Read a payload (base64url): {typ, payload, sha256, document, signers, lines}; throws `Unreadable`. */
export async function read(payload) {
  let document;
  try {
    const bytes = bytesOf(payload);
    const source = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    document = JSON.parse(source);
    if (base64url(canonical(document)) !== payload) throw new TypeError("not canonical");
  } catch {
    throw new Unreadable(words.notCanonical);
  }
  for (const said of texts(document)) if (HIDDEN.test(said)) throw new Unreadable(words.hidden);
  const typ = document?.grantor ? MANDATE : GRANT;
  let lines;
  try {
    const said = typ === MANDATE ? mandate(document) : grant(document);
    lines = Array.from(said, ([term, value, later]) =>
      ({ label: term ? words.terms[term] : words.laterTerm(isolated(later)), value }));
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    throw new Unreadable(words.unknownForm); // A value of another kind than its name says.
  }
  if (typ === GRANT) await requireItsHashes(document.authorization_details);
  const signers = typ === MANDATE ? [document.grantor] : document.required_signers;
  return { typ, payload, sha256: hex(await sha256(bytesOf(payload))), document, signers, lines };
}

/** A time of the document (seconds since the epoch), the same words for every reader. */
export function utc(seconds) {
  const whole = typeof seconds === "number" ? new Date(seconds * 1000) : new Date(seconds);
  return `${whole.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** What terms say, line by line, before anything is signed; throws `Unreadable`. */
export function linesOf(said) {
  return Array.from(terms(said), ([term, value, later]) =>
    ({ label: term ? words.terms[term] : words.laterTerm(isolated(later)), value }));
}

/**
 * What is shown of a grant has to be what its hashes name: the gate goes by those, people by these.
 * (Forms of `service/templates/versions.py` and `service/catalog/shares.py`.)
 */
async function requireItsHashes({ template, template_sha256: named, track, terms: said, split: parts, ownership }) {
  const hash = async (value) => hex(await sha256(canonical(value)));
  const fits = await hash({ template, track: track.id, terms: said }) === named
    && (ownership === undefined || await hash(parts) === ownership.sha256);
  if (!fits) throw new Unreadable(words.otherHash);
}

function* texts(value) {
  if (typeof value === "string") yield value;
  else if (value && typeof value === "object") {
    for (const [name, inner] of Object.entries(value)) {
      yield name;
      yield* texts(inner);
    }
  }
}

/** The members of an object that has exactly these, and perhaps those. */
function members(value, names, optional = []) {
  const found = value && typeof value === "object" && !Array.isArray(value) ? Object.keys(value) : [];
  const exact = names.every((name) => found.includes(name))
    && found.every((name) => names.includes(name) || optional.includes(name));
  if (!exact) throw new Unreadable(words.unknownForm);
  return value;
}

function is(kind, value) {
  const fits = kind === "list" ? Array.isArray(value) && value.every((one) => typeof one === "string")
    : kind === "whole" ? Number.isSafeInteger(value) : typeof value === kind;
  if (!fits) throw new Unreadable(words.unknownForm);
  return value;
}

function must(fits) {
  if (!fits) throw new Unreadable(words.unknownForm);
}

/** The words for one of the values that there are; another value is not of a form that is known. */
function known(said, value) {
  must(typeof value === "string" && Object.hasOwn(said, value));
  return said[value];
}

const range = (bounds, say) => {
  const { min, max } = members(bounds, ["min", "max"]);
  return say(is("number", min), is("number", max));
};
const name = (value) => isolated(is("string", value));

function* grant(document) {
  const { authorization_details: allowed, required_signers: signers } = members(document, [
    "iss", "jti", "gen", "iat", "nbf", "exp", "required_signers", "authorization_details"]);
  members(allowed, ["type", "template", "template_sha256", "track", "terms", "actions", "stems_locked",
    "training", "voice_cloning", "split"], ["ownership"]);
  must(allowed.type === "remix" && allowed.training === "notAllowed" && allowed.voice_cloning === false);
  must(Array.isArray(signers) && signers.length > 0 && Array.isArray(allowed.split));
  for (const signer of signers) members(signer, ["party", "kid", "name"]);
  const track = members(allowed.track, ["id", "title", "artist", "isrc", "audio_sha256"]);

  yield ["track", words.trackBy(name(track.title), name(track.artist))];
  if (track.isrc !== null) yield ["isrc", is("string", track.isrc)];
  yield ["actions", list(allowed.actions, words.action)];
  yield ["locked", list(allowed.stems_locked, words.stem)];
  yield* terms(allowed.terms);
  yield ["training", words.notAllowed];
  yield ["voiceCloning", words.notAllowed];
  yield ["signers", signers.map((signer) => name(signer.name)).join(", ")];
  yield* split(allowed.split, signers);
  yield* dates(document);
  yield ["audio", words.audio(is("string", track.audio_sha256), is("string", track.id))];
  yield ["template", words.hashed(is("string", allowed.template), is("string", allowed.template_sha256))];
  if (allowed.ownership !== undefined) {
    const { version, sha256: hash } = members(allowed.ownership, ["version", "sha256"]);
    yield ["ownership", words.hashed(words.version(is("whole", version)), is("string", hash))];
  }
  yield ["made", words.madeBy(utc(document.iat), name(document.iss), name(document.jti), is("whole", document.gen))];
}

function list(values, say = (value) => value) {
  return is("list", values).map((value) => isolated(say(value))).join(", ") || words.none;
}

// How each term is said; `undefined` stands for one that is absent, which has a meaning too.
const TERMS = {
  part: (part) => words.part(is("string", part)),
  styles: (styles) => list(styles),
  free_text: (free) => words.freeText(is("boolean", free)),
  tempo_percent: (bounds) => range(bounds, words.percentRange),
  key_semitones: (bounds) => range(bounds, words.semitones),
  guidance: (bounds) => range(bounds, words.range),
  length_seconds: (bounds) => range(bounds, words.seconds),
  densities: (choice) => (choice === undefined || is("list", choice).length === 0 ? words.notOffered : list(choice, words.density)),
  fills: (choice) => words.offered(choice === undefined ? false : is("boolean", choice)),
  swing: (choice) => words.offered(choice === undefined ? false : is("boolean", choice)),
  redo_seconds: (bounds) => (bounds === undefined ? words.notOffered : range(bounds, words.seconds)),
  quota_per_listener: (quota) => words.remixes(is("whole", quota)),
  quota_total: (quota) => (quota === undefined ? words.anyNumber : words.remixes(is("whole", quota))),
  territories: (where) => (is("list", where).length === 1 && where[0] === "*" ? words.everywhere : list(where, territory)),
  not_before: (moment) => (moment === null ? words.noBound : utc(is("string", moment))),
  not_after: (moment) => (moment === null ? words.noBound : utc(is("string", moment))),
  commercial: (use) => words.commercial(is("boolean", use)),
  price: (price) => (price === undefined ? words.noPrice : money(price)),
  on_revocation: (what) => known(words.afterRevocation, what === undefined ? "keep" : what),
  checkpoints: (models) => list(models),
};

function* terms(value) {
  must(value && typeof value === "object" && !Array.isArray(value));
  const { training, voice_cloning: cloning, ...said } = value;
  must(training === "notAllowed" && cloning === false);
  for (const [term, say] of Object.entries(TERMS)) {
    yield [term, say(said[term])];
    delete said[term];
  }
  // Whatever terms come later are shown too, if less fluently: nothing is signed unseen.
  for (const [term, later] of Object.entries(said)) yield [null, isolated(canonical(later)), term];
}

function money(price) {
  const { currency, per_remix: remix, per_thousand_plays: plays, platform_fee_ppm: fee, recording_ppm: recording } =
    members(price, ["currency", "per_remix", "per_thousand_plays", "platform_fee_ppm", "recording_ppm"]);
  for (const ppm of [fee, recording]) must(is("whole", ppm) >= 0 && ppm <= 1_000_000);
  must(/^[A-Z]{3}$/.test(is("string", currency)));
  return words.price(amount(remix, currency, language), amount(plays, currency, language),
    percent(fee, language), percent(recording, language), percent(1_000_000 - recording, language));
}

function territory(code) {
  try {
    return `${new Intl.DisplayNames(language, { type: "region" }).of(code)} (${code})`;
  } catch {
    return code;
  }
}

function* split(parts, signers) {
  const names = new Map(signers.map((signer) => [signer.party, signer.name]));
  for (const part of parts) {
    const { party, side, ppm } = members(part, ["party", "side", "ppm"]);
    must(is("whole", ppm) > 0 && ppm <= 1_000_000 && ["recording", "composition"].includes(side));
    const who = names.has(party) ? name(names.get(party)) : words.doesNotSign;
    yield [side, words.owns(percent(ppm, language), who, name(party))];
  }
}

function* mandate(document) {
  members(document, ["iss", "jti", "iat", "nbf", "exp", "grantor", "agent", "tracks", "purposes"]);
  const grantor = members(document.grantor, ["party", "kid", "name"]);
  const agent = members(document.agent, ["party", "name"]);
  for (const purpose of is("list", document.purposes)) known(words.purposes, purpose);
  yield ["grantor", words.named(name(grantor.name), name(grantor.party))];
  yield ["agent", words.named(name(agent.name), name(agent.party))];
  yield ["mandateTracks", document.tracks === "*" ? words.everyTrack : list(document.tracks)];
  yield ["mandatePurposes", list(document.purposes, (purpose) => known(words.purposes, purpose))];
  yield ["mandateEnds", words.mandateEnds];
  yield* dates(document);
  yield ["made", words.madeBy(utc(document.iat), name(document.iss), name(document.jti), null)];
}

function* dates({ nbf, exp, iat }) {
  for (const time of [nbf, exp, iat]) is("whole", time);
  yield ["from", utc(nbf)];
  yield ["until", utc(exp)];
}
