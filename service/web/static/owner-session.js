// Who acts here: the bearer's subject, the party it acts for, its tracks, its right to sign for others.

import { Problem, json, session } from "./api.js";
import { bytesOf } from "./canonical.js";
import { isolated, text } from "./owner-text.js";

const PAGE = 100;

/** The party and what goes with it; null where none is registered yet. */
export const acting = { party: null, keys: [], tracks: new Map(), mandates: [] };

/** What the bearer token says; the service is who checks it. */
function claims() {
  try {
    return JSON.parse(new TextDecoder().decode(bytesOf(session.token.split(".")[1])));
  } catch {
    return {};
  }
}

/** Whether the bearer acts as an operator, to whom the API gives other answers. */
export const isOperator = () => claims().role === "operator";

/** The bearer's `sub`, which a registration states. */
export function subject() {
  const { sub } = claims();
  if (typeof sub === "string") return sub;
  throw new Problem(0, { title: text.problem.unexpected, detail: text.problem.noSubject });
}

/** Nobody acts here now. */
export function forgetActing() {
  Object.assign(acting, { party: null, keys: [], tracks: new Map(), mandates: [] });
}

/** Ask the service who acts here; false where no party is registered yet. */
export async function recognise() {
  const { token } = session;
  const found = await whoActs();
  // Another has signed in while this was asked: what was found is not theirs.
  if (session.token !== token) throw new DOMException("another signed in", "AbortError");
  if (!found) forgetActing();
  else Object.assign(acting, found); // All at once: what is shown meanwhile reads from it.
  return found !== null;
}

async function whoActs() {
  let party;
  try {
    party = await json("/v1/parties/me");
  } catch (error) {
    if (error instanceof Problem && error.type.endsWith("/party-needed")) return null;
    throw error;
  }
  const [keys, tracks, mandates] = await Promise.all([
    json(`/v1/parties/${party.id}/keys`), every("/v1/tracks"), every("/v1/mandates")]);
  return { party, keys: keys.items, tracks: new Map(tracks.map((track) => [track.id, track])), mandates };
}

/** The party's present key, as the service has it. */
export function presentKey() {
  return acting.keys.find((key) => key.kid === acting.party.kid);
}

/** The mandate under which this party may sign a remix grant of a track for another. */
export function mandateOf(grantor, track) {
  const moment = Date.now();
  return acting.mandates.find((mandate) =>
    mandate.agent.party_id === acting.party.id && mandate.grantor.party_id === grantor
    && mandate.state === "open" && mandate.signed && mandate.purposes.includes("remix")
    && (mandate.tracks === "*" || mandate.tracks.includes(track))
    && Date.parse(mandate.not_before) <= moment && moment < Date.parse(mandate.expires_at));
}

/** What a track is called, where this party may know. */
export function trackName(id) {
  const track = acting.tracks.get(id);
  return track ? isolated(track.title) : id ?? "";
}

/** Every item of a list, page by page. */
export async function every(path) {
  const found = [];
  for (;;) {
    const { items } = await json(`${path}${path.includes("?") ? "&" : "?"}limit=${PAGE}&offset=${found.length}`);
    found.push(...items);
    if (items.length < PAGE) return found;
  }
}
