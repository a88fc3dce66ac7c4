// What was made and may not leave: why, asking the policy again, and discarding it.

import { json } from "./api.js";
import { element } from "./elements.js";
import { text } from "./operator-text.js";
import { button, card, confirmed, fill, moment, row, tell } from "./owner-frame.js";

const words = text.quarantine;

/** The newest hundred cases. */
export async function showQuarantine(onChange) {
  const { items } = await json("/v1/quarantine?limit=100");
  fill("quarantined", words.none, items.map((one) => caseCard(one, onChange)));
}

const list = (reasons) => element("ul", { class: "plain" }, ...reasons.map((reason) => element("li", { text: reason })));

function caseCard(one, onChange) {
  const open = one.resolved_at === null;
  const path = `/v1/quarantine/${encodeURIComponent(one.id)}`;
  const said = element("div", { role: "status" });
  const check = button(words.check, async () => {
    const { reasons } = await json(`${path}/check`, { method: "POST" });
    said.replaceChildren(...(reasons.length ? [element("p", { text: words.stillBad }), list(reasons)] : [element("p", { text: words.nowGood })]));
  }, { class: "quiet" });
  const discard = button(words.discard, async () => {
    if (!await confirmed(words.discardAsk(one.id), [words.discardHow], words.discard, { danger: true })) return;
    await json(`${path}/discard`, { method: "POST" });
    await onChange();
    tell(words.discarded);
  }, { class: "danger" });
  return card(words.title(one.id, open),
    element("dl", { class: "credits" },
      row(words.at, moment(one.at)),
      row(words.job, element("code", { text: one.job_id })),
      row(words.stage, words.stages[one.stage] ?? one.stage),
      row(words.reasons, list(one.reasons)),
      ...(one.file_sha256 ? [row(words.file, element("code", { text: one.file_sha256 }),
        element("small", { text: words.size(one.media_type ?? "", one.bytes ?? 0) }))] : []),
      ...(one.manifest_id ? [row(words.manifest, element("code", { text: one.manifest_id }))] : []),
      ...(open ? [] : [row(words.resolved, words.resolvedBy(moment(one.resolved_at), one.resolved_by ?? ""))])),
    ...(open ? [element("div", { class: "row wrap" }, ...(one.file_sha256 ? [check] : []), discard), said] : []));
}
