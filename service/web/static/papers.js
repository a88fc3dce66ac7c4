// Credits and the verdict, both read out of the very bytes that were received.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { answerOf, creditRows, madeRows, modelRows, originRows, reasonsOf, seedRows, signerRows, verdictOf } from "./report.js";

/** Send the received file to POST /v1/verify and show what it says. */
export async function verify(blob) {
  const box = $("verdict");
  box.removeAttribute("data-verdict");
  box.replaceChildren("Checking the file you received …");
  for (const id of ["credits", "credential"]) $(id).replaceChildren();
  const report = await json("/v1/verify", { method: "POST", body: blob, headers: { "Content-Type": blob.type } });
  const { word, sentence } = answerOf(report);
  box.replaceChildren(
    element("strong", { text: word }), sentence,
    ...reasonsOf(report).map((reason) => element("small", { text: reason })),
    element("small", { text: `Credential: ${verdictOf(report)}` }));
  $("credits").replaceChildren(...creditRows(report), ...madeRows(report));
  $("credential").replaceChildren(
    ...originRows(report), ...modelRows(report), ...seedRows(report), ...signerRows(report));
  box.dataset.verdict = report.verdict;
}
