// A track's audio: sending it, and following how it is checked.

import { json, upload } from "./api.js";
import { element, onPage } from "./elements.js";
import { Misfit, field, onSubmit } from "./owner-form.js";
import { button, card, complain, tell } from "./owner-frame.js";
import { isolated, text } from "./owner-text.js";

const words = text.audio;
const STEMS = ["drums", "bass", "other", "vocals"];
const POLL_MS = 1000;

/** What is to be done about the audio now. */
export function audioOf(track, onChange) {
  if (track.state === "ingesting") return following(track, onChange);
  if (["awaiting_audio", "rejected"].includes(track.state)) return sending(track, onChange);
  return element("span", { hidden: true });
}

function sending(track, onChange) {
  const file = () => element("input", { type: "file", accept: "audio/*,.wav,.flac,.mp3,.ogg,.opus,.m4a" });
  const mix = file();
  const stems = new Map(STEMS.map((name) => [name, file()]));
  const bar = element("progress", { max: "1", value: "0", "aria-label": words.progress });
  const said = element("p", { class: "hint", role: "status" });
  const stopping = { now: null };
  const stop = button(text.page.cancel, () => stopping.now?.abort(), { class: "quiet" });
  const busy = element("div", { class: "row wrap", hidden: true }, bar, stop);
  const send = element("button", { class: "primary", text: words.send });
  const form = element("form", {},
    element("p", { class: "hint", text: words.how }),
    field(words.mix, mix),
    element("details", {}, element("summary", { text: words.stems }), element("p", { class: "hint", text: words.stemsHow }),
      ...[...stems].map(([name, control]) => field(words.stem(name), control))),
    send, busy, said);
  onSubmit(form, send, async () => {
    const files = [["audio", mix], ...[...stems].map(([name, control]) => [`stems/${name}`, control])]
      .flatMap(([path, control]) => [...control.files].map((one) => ({ path, control, file: one })));
    if (!files.length) throw new Misfit(mix, words.fileNeeded);
    const all = files.reduce((sum, one) => sum + one.file.size, 0);
    let before = 0;
    stopping.now = new AbortController();
    busy.hidden = false;
    try {
      for (const { path, file: one } of files) {
        said.textContent = words.sending(isolated(one.name));
        await upload(`/v1/tracks/${track.id}/${path}`, one, (part) => { bar.value = (before + part * one.size) / all; }, stopping.now.signal);
        before += one.size;
      }
      stopping.now = null;
      await json(`/v1/tracks/${track.id}/ingest`, { method: "POST" });
    } finally {
      busy.hidden = true;
      said.textContent = "";
    }
    await onChange();
    tell(words.sent);
  });
  return card(words.title, form);
}

function following(track, onChange) {
  const begun = Date.now();
  const said = element("p", { role: "status", text: words.checking });
  const since = element("span", { class: "hint" });
  const shown = card(words.title, said,
    element("div", { class: "row" }, element("progress", { "aria-label": words.checking }), since));
  const follow = async () => {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (!onPage(shown)) return; // Another view, or this one drawn anew.
      const { state } = await json(`/v1/tracks/${track.id}`);
      since.textContent = words.seconds(Math.round((Date.now() - begun) / 1000));
      if (state === "ingesting") continue;
      await onChange();
      return tell(words.ended[state] ?? state);
    }
  };
  follow().catch(complain);
  return shown;
}
