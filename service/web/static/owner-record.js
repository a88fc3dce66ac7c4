// The gate's decisions about this party's tracks, newest first.

import { json } from "./api.js";
import { $, element } from "./elements.js";
import { guarded, moment, once, table } from "./owner-frame.js";
import { acting, trackName } from "./owner-session.js";
import { text } from "./owner-text.js";

const words = text.record;
const PAGE = 50;
let shown = [];

/** The filters, and the button for earlier ones. */
export function prepareRecord() {
  $("record-form").onchange = guarded(showRecord);
  $("record-earlier").onclick = once($("record-earlier"), () => load(shown.at(-1)?.id));
}

/** The newest decisions that the filters leave. */
export async function showRecord() {
  const chosen = $("record-track").value;
  $("record-track").replaceChildren(element("option", { value: "", text: text.page.allTracks }),
    ...[...acting.tracks.values()].map((track) => element("option", { value: track.id, text: `${track.title} (${track.id})` })));
  $("record-track").value = acting.tracks.has(chosen) ? chosen : "";
  shown = [];
  await load();
}

async function load(before) {
  const asked = new URLSearchParams({ limit: PAGE });
  if ($("record-track").value) asked.set("track_id", $("record-track").value);
  if ($("record-opened").value) asked.set("opened", $("record-opened").value);
  if (before) asked.set("before", before);
  const list = shown;
  const { items } = await json(`/v1/decisions?${asked}`);
  if (list !== shown) return; // Another filter was chosen meanwhile.
  list.push(...items);
  $("record-earlier").hidden = items.length < PAGE;
  $("record-count").textContent = words.shown(shown.length);
  $("record-content").replaceChildren(shown.length ? decisionTable(shown) : element("p", { class: "hint", text: words.none }));
}

/** Decisions as a table. */
export function decisionTable(decisions) {
  const code = (id) => (id ? element("code", { text: id }) : "");
  return table(words.caption, words.columns, decisions.map((one) => ({
    at: moment(one.at),
    door: one.stage ? words.stage(words.doors[one.door] ?? one.door, one.stage) : words.doors[one.door] ?? one.door,
    answer: element("span", {},
      element("strong", { class: one.opened ? "good" : "bad", text: one.opened ? words.opened : words.shut }),
      ...(one.reason ? [" ", code(one.reason), element("small", { text: one.detail ?? "" })] : [])),
    track: acting.tracks.has(one.track_id) ? trackName(one.track_id) : code(one.track_id),
    grant: code(one.grant_id),
    job: code(one.job_id),
  })));
}
