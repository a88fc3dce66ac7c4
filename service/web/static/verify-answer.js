// The answer about a file, drawn in full: what it says of itself, what else is known, and as JSON.

import { claim, claimed } from "./claims.js";
import { $, element } from "./elements.js";
import { creditRows, madeRows, modelRows, originRows, reasonsOf, row, seedRows, signerRows, verdictOf } from "./report.js";
import { save } from "./saving.js";
import { atMost, clock, often } from "./words.js";

const FOUND = {
  recovered: "What its watermark leads to",
  marked: "A watermark of this service",
  similar: "What it sounds like",
};
const UNTRUSTED = {
  altered: "What follows is what the file says of itself. It was changed after it was signed, or its credential is damaged: any of it may be false.",
  other: "What follows is what the file says of itself. This service vouches for none of it.",
};

const list = (rows) => element("dl", { class: "credits" }, ...rows);
const paragraph = (text, kind = null) => element("p", { text, class: kind });
const upper = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** Draw it into the page's places; takes away what stood there. */
export function drawAnswer(report) {
  $("reasons").replaceChildren(...reasonsOf(report).map((reason) => element("li", { text: reason })));
  $("reasons").hidden = !report.reasons.length;
  const claims = groups(report, credentialRows(report));
  const untrusted = report.verdict !== "trusted" && report.manifest_id;
  $("found").replaceChildren(
    ...report.found.map(foundCard),
    ...(report.unsearched.length ? [unsearchedCard(report.unsearched)] : []));
  $("untrusted").textContent = UNTRUSTED[report.answer] ?? UNTRUSTED.other;
  $("untrusted").hidden = !untrusted;
  $("papers").replaceChildren(...claims.map(([title, ...nodes]) => card(title, ...nodes)));
  drawJson(report);
}

function card(title, ...nodes) {
  return element("article", { class: "card" }, element("h3", { text: title }), ...nodes);
}

/** The claims of a credential by subject, without those that say nothing: [title, ...nodes] each. */
function groups(claims, about) {
  const made = [...madeRows(claims), ...modelRows(claims), ...seedRows(claims)];
  return [
    ["Credits", creditRows(claims)],
    ["Where it comes from", about],
    ["What was made anew", made, claims.made?.statement],
  ].filter(([, rows]) => rows.length)
    .map(([title, rows, said]) => [title, ...(said ? [paragraph(claimed(said), "said")] : []), list(rows)]);
}

function credentialRows(report) {
  const consent = report.ours && !report.consent
    ? [row("consent", "not looked up", element("small", { text: "only a credential that is trusted is asked about" }))]
    : [];
  return [
    ...titleRows(report),
    ...originRows(report),
    ...consent,
    ...(report.verdict === "absent" ? [] : [row("credential", verdictOf(report), ...manifestId(report))]),
    ...signerRows(report),
  ];
}

const manifestId = ({ manifest_id: id }) => (id ? [element("small", { text: claimed(id) })] : []);
const titleRows = ({ title }) => (title ? [row("title", claim(title))] : []);

function foundCard(found) {
  const { word, detail, song, credential } = found;
  const rows = [
    ...(song ? [row("song", claim(song.title), ", ", claim(song.artist), ...(song.isrc ? [element("small", { text: `ISRC ${claimed(song.isrc)}` })] : []))] : []),
    ...(word === "marked" ? [] : [row("which version", ...versionOf(found))]),
    ...rateRows(found),
    row("method", claim(found.method)),
  ];
  return card(FOUND[word] ?? claimed(word), paragraph(`${upper(claimed(detail))}.`, "said"), list(rows),
    ...(credential ? recovered(credential) : []));
}

function versionOf({ word, version_certain: certain, start_seconds: start }) {
  const known = certain ? "this very one" : "cannot be told";
  if (start == null) return [known];
  return [known, element("small", { text: `${word === "similar" ? "heard" : "read"} from ${clock(start)} of the file on` })];
}

function rateRows({ true_positive_rate: found, true_positive_low: low, false_positive_rate: falsely }) {
  const surely = low == null ? [] : [element("small", { text: `as measured; at least ${often(low)}, with 97.5 per cent certainty` })];
  return [
    ...(found == null ? [] : [row("the method finds", `${often(found)} that are there`, ...surely)]),
    ...(falsely ? [row("it finds falsely", atMost(falsely))] : []),
  ];
}

/** What a recovered credential said, under its own headings: none of it is said of this file. */
function recovered(credential) {
  const about = [
    ...titleRows(credential),
    ...originRows(credential),
    row("still to be had here", credential.delivered ? "yes" : "no: it is no longer delivered"),
    row("credential", claim(credential.manifest_id)),
  ];
  return [
    paragraph(`What the credential said when it was issued on ${claimed(credential.issued_at).slice(0, 10)}, of the remix as it was then:`, "then"),
    ...groups(credential, about).flatMap(([title, ...nodes]) => [element("h4", { text: title }), ...nodes]),
  ];
}

function unsearchedCard(unsearched) {
  return card("What could not be searched",
    element("ul", { class: "plain" }, ...unsearched.map((reason) => element("li", { text: claimed(reason, 500) }))));
}

function drawJson(report) {
  // Escaped, as JSON allows: what would turn or hide the text around it is shown as it is written.
  const source = JSON.stringify(report, null, 2).replaceAll(/[\p{Cf}\p{Zl}\p{Zp}\u007F-\u009F]/gu,
    (one) => Array.from({ length: one.length }, (_, at) => `\\u${one.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""));
  $("json").textContent = source;
  $("copy").hidden = !navigator.clipboard; // Only where the address is https or this machine's.
  $("copied").textContent = "";
  $("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText(source);
      $("copied").textContent = "Copied.";
    } catch {
      $("copied").textContent = "This browser does not let the page copy.";
    }
  };
  $("save").onclick = () => save(new Blob([source], { type: "application/json" }), "verify.json");
}
