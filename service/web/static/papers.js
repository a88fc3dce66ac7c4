// Credits, and the verdict on the very bytes that were received.

import { json } from "./api.js";
import { element } from "./ask.js";

const VERDICTS = {
  trusted: ["Trusted", "Signed by an authority this service trusts, and unchanged since."],
  valid: ["Not trusted", "Signed and unchanged, but by nobody this service trusts."],
  invalid: ["Do not rely on it", "The file was changed after it was signed, or its credential is broken."],
  absent: ["No credential", "The file says nothing of where it comes from."],
};
const $ = (id) => document.getElementById(id);

function row(term, ...description) {
  return element("div", {}, element("dt", { text: term }), element("dd", {}, ...description));
}

export function showCredits(credits) {
  $("credits").replaceChildren(...credits.map(({ role, name, ai }) =>
    row(role, name, ...(ai ? [element("span", { class: "made", text: "made by a model" })] : []))));
}

/** Send the received file to POST /v1/verify and show what it says. */
export async function verify(blob) {
  const box = $("verdict");
  box.removeAttribute("data-verdict");
  box.replaceChildren("Checking the file you received …");
  $("credential").replaceChildren();
  const report = await json("/v1/verify", { method: "POST", body: blob, headers: { "Content-Type": blob.type } });
  const [title, text] = VERDICTS[report.verdict] ?? VERDICTS.invalid;
  box.dataset.verdict = report.verdict;
  box.replaceChildren(element("strong", { text: title }), text);
  return report;
}
