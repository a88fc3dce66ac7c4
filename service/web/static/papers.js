// Credits and the verdict, both read out of the very bytes that were received.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { bindings, spans } from "./words.js";

const VERDICTS = {
  trusted: "Trusted",
  valid: "Not trusted",
  invalid: "Do not rely on it",
  absent: "No credential",
};
const STANDING = {
  stands: "stands today",
  revoked: "was given, and has been taken back since",
  ended: "was given, and has ended since",
  preview: "none: a preview for the owners, which grants nothing",
  unknown: "not known here",
};

function row(term, ...description) {
  return element("div", {}, element("dt", { text: term }), element("dd", {}, ...description));
}

function models(checkpoints) {
  return checkpoints.map(({ name, role, licence, digest }) =>
    row(role, name, element("small", { text: `${licence} · ${digest.slice(0, 12)}` })));
}

function madeAnew({ part, choices: { redo, ...rest } }) {
  const chosen = bindings(rest);
  return [
    row("made anew", redo ? `${part}, ${spans(redo)}` : part),
    ...(chosen.length ? [row("asked for", chosen.join(", "))] : []),
  ];
}

/** Send the received file to POST /v1/verify and show what it says. */
export async function verify(blob) {
  const box = $("verdict");
  box.removeAttribute("data-verdict");
  box.replaceChildren("Checking the file you received …");
  for (const id of ["credits", "credential"]) $(id).replaceChildren();
  const report = await json("/v1/verify", { method: "POST", body: blob, headers: { "Content-Type": blob.type } });
  box.dataset.verdict = report.verdict;
  box.replaceChildren(element("strong", { text: VERDICTS[report.verdict] ?? report.verdict }), report.summary,
    ...report.reasons.map((reason) => element("small", { text: reason })));
  $("credits").replaceChildren(
    ...report.credits.map(({ name, role, ai }) =>
      row(role, name, ...(ai ? [element("span", { class: "made", text: "AI" })] : []))),
    ...(report.made ? [...madeAnew(report.made), row("kept as they were", report.made.kept.join(", "))] : []));
  const { signer, original, consent, made, checkpoints } = report;
  $("credential").replaceChildren(
    ...(original ? [row("made from", `${original.title}, ${original.artist}`)] : []),
    ...(consent ? [row("consent", STANDING[consent.standing] ?? consent.standing)] : []),
    ...models(checkpoints),
    ...(made ? [row("seed", String(made.seed))] : []),
    ...(signer?.common_name ? [row("signed by", signer.common_name)] : []));
}
