// Shares of both sides: whose they are, by party id, in per cent to four decimals.

import { Problem, json } from "./api.js";
import { element } from "./elements.js";
import { Misfit, line } from "./owner-form.js";
import { button, complain } from "./owner-frame.js";
import { partsPerMillion, percent, written } from "./money.js";
import { acting } from "./owner-session.js";
import { isolated, language, text } from "./owner-text.js";

const words = text.shares;
const WHOLE = 1_000_000;

/** An editor that begins with `shares`; {node, value()}, and value() throws a `Misfit`. */
export function sharesEditor(shares) {
  const recording = side("recording", shares);
  const composition = side("composition", shares);
  const copy = button(words.copy, () => composition.show(recording.rows().map((row) => row.said())), { class: "quiet" });
  composition.node.append(copy);
  return {
    node: element("div", {}, recording.node, composition.node),
    value() {
      const found = [...recording.value(), ...composition.value()];
      if (!found.some((share) => share.side === "recording")) throw new Misfit(recording.node, words.recordingNeeded);
      return found;
    },
  };
}

function side(name, shares) {
  const list = element("ul", { class: "plain" });
  const sum = element("output", { class: "hint" });
  let rows = [];
  const count = () => {
    const parts = rows.map((row) => row.ppm());
    const all = parts.reduce((total, ppm) => total + (ppm ?? 0), 0);
    sum.textContent = rows.length === 0 ? words.noSide[name] : words.sum(percent(all, language), all === WHOLE);
  };
  const add = (share, focus = false) => {
    const made = shareRow(name, share, count, () => {
      rows = rows.filter((row) => row !== made);
      made.node.remove();
      count();
      more.focus();
    });
    rows.push(made);
    list.append(made.node);
    count();
    if (focus) made.party.focus();
  };
  const show = (said) => {
    rows = [];
    list.replaceChildren();
    for (const one of said) add(one);
    count();
  };
  const more = button(words.add, () => add({ party: "", percent: "" }, true), { class: "quiet" });
  const node = element("fieldset", { class: "together" }, element("legend", { text: words.sides[name] }),
    element("p", { class: "hint", text: words.sideHow[name] }), list, sum, more);
  node.dataset.pointer = "/body/shares";
  show(shares.filter((share) => share.side === name)
    .map(({ party_id: party, ppm }) => ({ party, percent: written(ppm, 4).replace(/\.?0+$/, "") })));
  return {
    node,
    show,
    rows: () => rows,
    value() {
      const found = rows.map((row) => ({ ...row.value(), side: name }));
      const all = found.reduce((total, { ppm }) => total + ppm, 0);
      if (found.length && all !== WHOLE) throw new Misfit(rows.at(-1).part, words.notWhole(percent(all, language)));
      return found;
    },
  };
}

function shareRow(name, { party: id, percent: part }, onChange, onRemove) {
  const party = line({ value: id, maxlength: "40", spellcheck: "false", dir: "ltr", "aria-label": words.party, placeholder: "pty_…" });
  const share = line({ value: part, inputmode: "decimal", "aria-label": words.percent, placeholder: "50" });
  const who = element("small", { class: "hint", role: "status" });
  const ask = async () => {
    const asked = party.value.trim();
    if (!asked) return who.replaceChildren();
    if (asked === acting.party?.id) return who.replaceChildren(words.you(isolated(acting.party.name)));
    try {
      const found = await json(`/v1/parties/${encodeURIComponent(asked)}`);
      if (party.value.trim() === asked) who.replaceChildren(isolated(found.name));
    } catch (error) {
      if (!(error instanceof Problem && [404, 422].includes(error.status))) throw error;
      who.replaceChildren(words.nobody);
    }
  };
  party.addEventListener("change", () => ask().catch(complain));
  share.addEventListener("input", onChange);
  ask().catch(complain);
  const remove = button(words.remove, onRemove, { class: "quiet" });
  return {
    node: element("li", { class: "row wrap share" }, element("div", { class: "grow" }, party, who), element("div", { class: "part" }, share, element("span", { "aria-hidden": "true", text: "%" })), remove),
    party,
    part: share,
    ppm: () => partsPerMillion(share.value),
    said: () => ({ party: party.value, percent: share.value }),
    value() {
      if (!party.value.trim()) throw new Misfit(party, words.partyNeeded);
      const ppm = partsPerMillion(share.value);
      if (!ppm) throw new Misfit(share, words.notPercent);
      return { party_id: party.value.trim(), ppm };
    },
  };
}
