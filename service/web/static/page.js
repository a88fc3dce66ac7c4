// The page: who is listening, what may be remixed, one remix followed and heard.

import { Problem, idempotencyKey, json, request, session } from "./api.js";
import { AskForm } from "./ask.js";
import { early } from "./early.js";
import { $, element } from "./elements.js";
import { clear, follow } from "./job.js";
import { load, player, unload } from "./listening.js";
import { verify } from "./papers.js";
import { refusal } from "./refusal.js";
import { bindings } from "./words.js";

const SUFFIXES = { "audio/flac": "flac", "audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp4": "m4a" };

let following = new AbortController(); // Ends what belonged to the remix shown before.
let shownTrack = null;
let downloadUrl = null;

/** Whatever goes wrong ends here, in words. */
function complain(error) {
  if (error?.name === "AbortError") return;
  if (error instanceof Problem && error.status === 401) return signIn(error.message);
  $("alert").replaceChildren(...refusal(error));
  $("alert").hidden = false;
}

const guarded = (action) => (...args) => {
  $("alert").hidden = true;
  return Promise.resolve().then(() => action(...args)).catch(complain);
};

function signIn(reason = "") {
  session.token = null;
  $("main").hidden = true;
  $("sign-in").hidden = false;
  $("alert").hidden = !reason;
  $("alert").textContent = reason;
  $("sign-in-token").focus();
}

const form = new AskForm({
  onSong: guarded((offer) => {
    putRemixAway();
    return showSong(offer);
  }),
  onAsk: guarded(ask),
});

async function showSong(offer) {
  $("song-title").textContent = offer.title;
  $("song-artist").textContent = offer.artist;
  $("quota").textContent = `${offer.quota_remaining} remixes left for you.`;
  if (shownTrack === offer.track_id) return;
  shownTrack = offer.track_id;
  unload("original");
  const response = await request(`/v1/tracks/${offer.track_id}/audio`);
  const blob = await response.blob();
  if (shownTrack === offer.track_id) await load("original", blob);
}

function putRemixAway() {
  following.abort();
  following = new AbortController();
  clear();
  early.end();
  unload("remix");
  form.busy = false;
  $("papers").hidden = true;
  $("download").hidden = true;
  $("remix-empty").hidden = false;
  $("remix-empty").textContent = "Choose a style and ask: the remix appears here.";
  $("remix-caption").textContent = "Remix";
  history.replaceState(null, "", location.pathname);
}

async function ask(offer, choices) {
  putRemixAway();
  form.busy = true;
  try {
    const remix = await json("/v1/remixes", {
      method: "POST",
      body: { template_id: offer.template_id, version: offer.version, choices },
      headers: { "Idempotency-Key": idempotencyKey() },
    });
    await showRemix(remix);
  } finally {
    form.busy = false;
  }
}

async function showRemix(remix) {
  const { signal } = following;
  history.replaceState(null, "", `#remix=${remix.id}`);
  const wording = [remix.choices.style, ...bindings(remix.choices)].join(", ");
  $("remix-caption").textContent = `Remix · ${wording}`;
  form.style = remix.choices.style;
  $("listen").scrollIntoView({ block: "nearest" }); // On a phone the player is below the form.
  if (remix.state !== "published") {
    $("remix-empty").textContent = "On its way …";
    early.begin();
    const end = await follow(remix.id, signal, (excerpt) => early.add(`/v1/remixes/${remix.id}`, excerpt, signal));
    if (end && end.type !== "published") early.end();
    if (end?.type !== "published") {
      if (end) $("remix-empty").textContent = "No remix this time.";
      return showEarlier();
    }
  }
  const path = `/v1/remixes/${remix.id}`;
  const [told, response] = await Promise.all([
    json(path, { signal }), request(`${path}/audio`, { signal }),
  ]);
  const blob = await response.blob();
  if (signal.aborted) return;
  $("remix-empty").hidden = true;
  $("remix-caption").textContent = `Remix · ${wording}, seed ${told.choices.seed}`;
  await load("remix", blob);
  player.hear("remix");
  // Whoever hears its beginning already goes on hearing it, from where it is.
  const heard = early.end();
  if (heard !== null) {
    await player.seek(heard);
    await player.play();
  }
  offerDownload(told, blob);
  $("papers").hidden = false;
  await Promise.all([verify(blob), showEarlier()]);
}

function offerDownload(remix, blob) {
  if (downloadUrl) URL.revokeObjectURL(downloadUrl);
  downloadUrl = URL.createObjectURL(blob);
  const words = [$("song-title").textContent, remix.choices.style, String(remix.choices.seed)];
  $("download").href = downloadUrl;
  $("download").download = `${words.join(" ").toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "-")}.${SUFFIXES[blob.type] ?? "flac"}`;
  $("download").hidden = false;
}

async function showEarlier() {
  const { items } = await json("/v1/remixes");
  $("earlier").hidden = !items.length;
  $("earlier-list").replaceChildren(...items.slice(0, 8).map((remix) => {
    const button = element("button", { type: "button" },
      element("span", { text: [remix.choices.style, ...bindings(remix.choices)].join(", ") }),
      element("small", { text: remix.state }));
    button.addEventListener("click", guarded(() => open(remix)));
    return element("li", {}, button);
  }));
}

async function open(remix) {
  putRemixAway();
  await showSongOf(remix);
  await showRemix(remix);
}

/** A remix is heard beside its own original, or beside none where that is open to nobody now. */
async function showSongOf(remix) {
  if (form.pick(remix.track_id)) return showSong(form.offer);
  shownTrack = remix.track_id;
  unload("original");
  $("song-title").textContent = remix.file?.title ?? "";
  for (const id of ["song-artist", "quota"]) $(id).textContent = "";
}

async function start() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.get("token")) {
    session.token = asked.get("token");
    asked.delete("token");
    // The token leaves the address bar and the history at once.
    history.replaceState(null, "", asked.size ? `#${asked}` : location.pathname);
  }
  if (!session.token) return signIn();
  $("sign-in").hidden = true;
  const wanted = asked.get("remix");
  const [catalog, remix] = await Promise.all([
    json("/v1/catalog"), wanted ? json(`/v1/remixes/${encodeURIComponent(wanted)}`) : null,
  ]);
  const offers = catalog.items.map(({ track, ...terms }) => ({
    ...terms, track_id: track.id, title: track.title, artist: track.artist, seconds: track.duration_seconds,
  }));
  $("main").hidden = false;
  form.show(offers, (offer) => remix && offer.template_id === remix.template_id);
  await Promise.all([remix ? showSongOf(remix) : form.offer && showSong(form.offer), remix ? showRemix(remix) : showEarlier()]);
}

$("sign-in-form").addEventListener("submit", guarded((event) => {
  event.preventDefault();
  session.token = $("sign-in-token").value.trim();
  $("sign-in-token").value = "";
  return start();
}));
window.reprise = { player, early }; // For tests and the curious: the clock and the gains.
guarded(start)();
