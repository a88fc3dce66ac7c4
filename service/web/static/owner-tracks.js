// Tracks: those one has a share of, registering another, and everything about one.

import { json, request } from "./api.js";
import { $, element } from "./elements.js";
import { audioOf } from "./owner-audio.js";
import { field, line, onSubmit } from "./owner-form.js";
import { button, card, row, tell } from "./owner-frame.js";
import { percent } from "./money.js";
import { acting } from "./owner-session.js";
import { sharesEditor } from "./owner-shares.js";
import { templatesOf } from "./owner-templates.js";
import { isolated, language, text } from "./owner-text.js";
import { clock } from "./words.js";

const words = text.tracks;
const NEW = "new";

/** The list; or, where the address names a track of theirs, that one; or the form for another. */
export async function showTracks(chosen, onChange) {
  const place = element("div", { class: "cards" }); // A place of its own: what comes late finds it gone.
  $("tracks-content").replaceChildren(place);
  const track = acting.tracks.get(chosen);
  if (chosen === NEW) place.append(back(), registration(onChange));
  else if (track) place.append(back(), ...await everythingOf(track, onChange));
  else place.append(link(words.register, NEW, "primary"), ...(acting.tracks.size
    ? [...acting.tracks.values()].map(shortCard) : [element("p", { class: "hint", text: words.none })]));
}

const link = (said, detail, kind) => element("a", { class: `button ${kind}`, href: `#tracks&${detail}`, text: said });
const back = () => element("p", {}, element("a", { href: "#tracks", text: words.back }));

function shortCard(track) {
  return card(`${isolated(track.title)} · ${words.states[track.state] ?? track.state}`,
    element("p", { class: "hint", text: [words.by(track.artist), track.isrc].filter(Boolean).join(" · ") }),
    element("div", { class: "row wrap" }, link(words.open, track.id, "quiet")));
}

function registration(onChange) {
  const title = line({ maxlength: "200", required: true, dir: "auto" });
  const artist = line({ maxlength: "200", required: true, dir: "auto", value: acting.party.name });
  const isrc = line({ maxlength: "32", dir: "ltr" });
  const iswc = line({ maxlength: "32", dir: "ltr" });
  const shares = sharesEditor([{ party_id: acting.party.id, side: "recording", ppm: 1_000_000 }]);
  const credits = creditsEditor();
  const send = element("button", { class: "primary", text: words.register });
  const form = element("form", { class: "narrow card" },
    element("h3", { text: words.register }),
    element("p", { class: "hint", text: words.registerHow }),
    field(words.title, title, { pointer: "/body/title" }),
    field(words.artist, artist, { pointer: "/body/artist" }),
    field(words.isrc, isrc, { pointer: "/body/isrc", hint: words.isrcHow }),
    field(words.iswc, iswc, { pointer: "/body/iswc", hint: words.iswcHow }),
    shares.node, credits.node, send);
  onSubmit(form, send, async () => {
    const track = await json("/v1/tracks", {
      method: "POST",
      body: {
        title: title.value, artist: artist.value, shares: shares.value(), credits: credits.value(),
        ...(isrc.value.trim() && { isrc: isrc.value.trim() }), ...(iswc.value.trim() && { iswc: iswc.value.trim() }),
      },
    });
    history.replaceState(null, "", `#tracks&${track.id}`); // Going back does not lead to a form that is done.
    await onChange();
    tell(words.registered(isolated(track.title)));
  });
  return form;
}

function creditsEditor() {
  const list = element("ul", { class: "plain" });
  const rows = [];
  const add = (name = "", role = "") => {
    const who = line({ maxlength: "200", dir: "auto", value: name, "aria-label": words.creditName, placeholder: words.creditName });
    const what = line({ maxlength: "200", value: role, "aria-label": words.creditRole, placeholder: words.creditRole });
    rows.push([who, what]);
    list.append(element("li", { class: "row wrap share" }, element("div", { class: "grow" }, who), element("div", { class: "grow" }, what)));
    return who;
  };
  const node = element("fieldset", { class: "together" }, element("legend", { text: words.credits }),
    element("p", { class: "hint", text: words.creditsHow }), list, button(words.addCredit, () => add().focus(), { class: "quiet" }));
  node.dataset.pointer = "/body/credits";
  return {
    node,
    value: () => rows.map(([who, what]) => ({ name: who.value.trim(), role: what.value.trim() })).filter(({ name, role }) => name || role),
  };
}

async function everythingOf(track, onChange) {
  const { items } = await json(`/v1/tracks/${track.id}/ownership`);
  const ready = track.state === "ready";
  return [
    await about(track),
    audioOf(track, onChange),
    ...(ready ? await templatesOf(track, onChange) : []),
    proposing(track, items, onChange),
  ];
}

async function about(track) {
  const named = new Map(await Promise.all([...new Set(track.shares.map((share) => share.party_id))].map(async (id) =>
    [id, id === acting.party.id ? acting.party.name : (await json(`/v1/parties/${id}`)).name])));
  const share = ({ party_id: party, side, ppm }) =>
    element("li", { text: text.proposals.share(percent(ppm, language), side, named.get(party)) });
  return card(`${isolated(track.title)} · ${words.states[track.state] ?? track.state}`,
    ...(track.problem ? [element("p", { class: "warning", text: track.problem.detail ?? track.problem.title })] : []),
    ...(track.state === "held" ? [element("p", { class: "warning", text: words.held })] : []),
    element("dl", { class: "credits" },
      row(words.artist, isolated(track.artist)),
      ...(track.isrc ? [row(words.isrc, track.isrc)] : []),
      ...(track.iswc ? [row(words.iswc, track.iswc)] : []),
      row(words.id, element("code", { text: track.id })),
      ...(track.duration_seconds ? [row(words.length, clock(track.duration_seconds))] : []),
      row(words.shares, element("ul", { class: "plain" }, ...track.shares.map(share))),
      ...(track.credits.length ? [row(words.credits, track.credits.map(({ name, role }) => `${isolated(name)} (${isolated(role)})`).join(", "))] : []),
      ...(track.duplicate_of ? [row(words.duplicate, element("code", { text: track.duplicate_of }))] : [])),
    ...(track.audio_sha256 ? [hearing(track)] : []));
}

function hearing(track) {
  const hear = button(words.hear, async () => {
    const response = await request(`/v1/tracks/${track.id}/audio`);
    const player = element("audio", { controls: true, "aria-label": words.player(track.title) });
    player.src = URL.createObjectURL(await response.blob());
    hear.replaceWith(player);
    player.focus();
  }, { class: "quiet" });
  return element("div", {}, hear);
}

function proposing(track, versions, onChange) {
  const open = versions.find((version) => version.state === "proposed");
  if (open) return card(words.propose, element("p", { class: "hint", text: words.proposalOpen }));
  const shares = sharesEditor(track.shares);
  const send = element("button", { class: "quiet", text: words.proposeButton });
  const form = element("form", {}, element("p", { class: "hint", text: words.proposeHow }), shares.node, send);
  onSubmit(form, send, async () => {
    const made = await json(`/v1/tracks/${track.id}/ownership`, { method: "POST", body: { shares: shares.value() } });
    await onChange();
    tell(words.proposed(made.state));
  });
  return element("details", { class: "card" }, element("summary", { text: words.propose }), form);
}
