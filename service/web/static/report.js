// A report of POST /v1/verify in words and rows, the same on every page that shows one.
//
// Everything that stands in a file passes through `claim`: a stranger may have written it.

import { claim, claimed } from "./claims.js";
import { element } from "./elements.js";
import { bindings, spans } from "./words.js";

const ANSWERS = {
  verified: "Verified",
  altered: "Altered",
  recovered: "Recovered by its watermark",
  similar: "Similar to something known",
  "nothing-known": "Nothing known",
};
const VERDICTS = {
  trusted: "Trusted",
  valid: "Not trusted",
  invalid: "Do not rely on it",
  absent: "None",
};
const STANDING = {
  stands: "stands today",
  revoked: "was given, and has been taken back since",
  ended: "was given, and has ended since",
  preview: "none: a preview for the owners, which grants nothing",
  unknown: "not known here",
};
// What a reason of the service is cut to; it may quote the file.
const MOST_OF_A_REASON = 500;

/** A term and what there is to say of it. */
export function row(term, ...description) {
  return element("div", {}, element("dt", { text: claimed(term) }), element("dd", {}, ...description));
}

const small = (words) => element("small", { text: claimed(words, MOST_OF_A_REASON) });

/** The answer for people: a word, and a sentence on what it means for this file. */
export function answerOf(report) {
  return { word: ANSWERS[report.answer] ?? claimed(report.answer), sentence: sentence(report) };
}

// A file that was recovered is never said to be what its credential made it: nothing vouches for it.
function sentence({ answer, summary, found, unsearched }) {
  if (answer === "recovered") {
    const certain = found.some(({ word, version_certain }) => word === "recovered" && version_certain);
    return `${summary} Its sound carries the watermark of ${certain ? "a remix" : "one of several remixes"} made here. What the credential said when it was issued stands below. The file may have been changed since, and nothing vouches for it as it is now.`;
  }
  if (answer === "similar") return `${summary} It sounds like a recording known here. That does not say which version it is, nor what was done to it.`;
  if (answer !== "nothing-known") return summary;
  const searched = found.length
    ? "It carries a watermark of this service, and nothing more is known of it."
    : unsearched.length
      ? "Not everything could be searched."
      : "No watermark of this service was found, and its sound is not known here.";
  return `${summary} ${searched} This does not prove that a person made it, nor that a machine did.`;
}

/** Why the credential is not trusted. */
export const reasonsOf = ({ reasons }) => reasons.map((reason) => claimed(reason, MOST_OF_A_REASON));

/** What the credential itself is worth, in a word. */
export const verdictOf = ({ verdict }) => VERDICTS[verdict] ?? claimed(verdict);

/** Who contributed what; a model is marked as one. */
export function creditRows({ credits }) {
  return credits.map(({ name, role, ai }) =>
    row(role, claim(name), ...(ai ? [element("span", { class: "made", text: "AI" })] : [])));
}

/** What was made anew, how, and what was kept. */
export function madeRows({ made }) {
  if (!made) return [];
  const { part, style, kept, choices: { redo, ...rest }, tempo_percent: tempo, key_semitones: key } = made;
  const chosen = [...bindings(rest), ...shifts(tempo, key)];
  return [
    row("made anew", claim(part), ...(redo ? [`, ${spans(redo)}`] : [])),
    row("style", claim(style)),
    ...(chosen.length ? [row("asked for", claim(chosen.join(", ")))] : []),
    ...(kept.length ? [row("kept as they were", claim(kept.join(", ")))] : []),
  ];
}

function shifts(tempo, key) {
  const signed = (value) => `${value > 0 ? "+" : "\u2212"}${Math.abs(value)}`;
  return [
    ...(tempo ? [`tempo ${signed(tempo)} %`] : []),
    ...(key ? [`key ${signed(key)} ${Math.abs(key) === 1 ? "semitone" : "semitones"}`] : []),
  ];
}

/** The checkpoints that worked on it. */
export function modelRows({ checkpoints }) {
  return checkpoints.map(({ name, role, licence, digest, commercial_use }) =>
    row(role, claim(name), small(
      [licence, ...(commercial_use ? [] : ["no commercial use"]), digest.slice(0, 12)].join(" · "))));
}

/** The number that decides what a model plays. */
export const seedRows = ({ made }) => (made ? [row("seed", String(made.seed))] : []);

/** The recording it was made from, and whether its owners' consent still stands. */
export function originRows({ original, consent }) {
  const codes = [original?.isrc && `ISRC ${original.isrc}`, original?.iswc && `ISWC ${original.iswc}`].filter(Boolean);
  return [
    ...(original
      ? [row("made from", claim(original.title), ", ", claim(original.artist), ...(codes.length ? [small(codes.join(" · "))] : []))]
      : []),
    ...(consent ? [row("consent", STANDING[consent.standing] ?? claim(consent.standing), small(consent.detail))] : []),
  ];
}

/** Who signed it, and when by a time-stamp authority's word. */
export function signerRows({ signer }) {
  return [
    ...(signer?.common_name ? [row("signed by", claim(signer.common_name), ...(signer.issuer ? [small(signer.issuer)] : []))] : []),
    ...(signer?.time ? [row("signed at", claim(signer.time))] : []),
  ];
}
