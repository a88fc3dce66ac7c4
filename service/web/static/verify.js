// The verify page: one file at a time, and what is known of it. The answer to an earlier file never
// takes the place of a later one's.

import { uploadUnnamed } from "./api.js";
import { claimed } from "./claims.js";
import { takeFiles } from "./dropping.js";
import { $, element } from "./elements.js";
import { refusal } from "./refusal.js";
import { answerOf } from "./report.js";
import { drawAnswer } from "./verify-answer.js";
import { bytes } from "./words.js";

const TITLE = document.title;
const MOST_BYTES = Number($("file").dataset.mostBytes);
const PASSING = new Set([0, 408, 429, 500, 502, 503, 504]); // What another try may get past.

let asking = null; // The file that is being checked: its AbortController.

async function check(file) {
  asking?.abort();
  const mine = asking = new AbortController();
  begin(file);
  try {
    if (file.size > MOST_BYTES) return refuse(`This file is too large: ${bytes(file.size)}. At most ${bytes(MOST_BYTES)} are taken.`);
    const report = await uploadUnnamed("/v1/verify", file, (part) => {
      if (asking === mine) progress(part);
    }, mine.signal);
    if (asking === mine) answer(report);
  } catch (error) {
    if (asking === mine && error.name !== "AbortError") complain(error, file);
  } finally {
    if (asking === mine) end();
  }
}

function begin(file) {
  const again = $("alert").contains(document.activeElement);
  quieten();
  $("file-name").replaceChildren(element("bdi", { text: claimed(file.name) }), ` · ${bytes(file.size)}`);
  $("file-name").hidden = false;
  $("phase").textContent = "Sending the file …";
  $("phase").hidden = $("busy").hidden = false;
  $("progress").value = 0;
  if (again) $("cancel").focus(); // The button that was pressed has gone.
}

function progress(part) {
  if (part < 1) $("progress").value = part;
  else {
    $("progress").removeAttribute("value"); // How long the reading takes nobody can say.
    $("phase").textContent = "Checking the file …";
  }
}

/** Take away what was said of the file before. */
function quieten() {
  $("alert").hidden = $("answer").hidden = $("answer-more").hidden = true;
  $("answer").replaceChildren();
  for (const id of ["found", "papers", "reasons", "json"]) $(id).replaceChildren();
  document.title = TITLE;
}

function end() {
  asking = null;
  // The button that has the focus is about to go: to the answer, or to where a file is chosen.
  const left = document.activeElement === $("cancel");
  $("busy").hidden = $("phase").hidden = true;
  if (left) ($("answer-word") ?? document.querySelector("#alert:not([hidden]) button") ?? $("file")).focus();
}

function answer(report) {
  const { word, sentence } = answerOf(report);
  drawAnswer(report);
  $("answer").dataset.answer = report.answer;
  $("answer").replaceChildren(
    element("h2", { id: "answer-word", tabindex: "-1", text: word }), element("p", { text: sentence }));
  $("answer").hidden = $("answer-more").hidden = false;
  document.title = `${word} · ${TITLE}`;
}

function complain(error, file) {
  const again = element("button", { type: "button", class: "quiet", text: "Try again" });
  again.addEventListener("click", () => check(file));
  show(...refusal(error),
    ...(navigator.onLine ? [] : [element("small", { text: "This device is offline." })]),
    ...(error.retryAfter ? [element("small", { text: `Try again in ${error.retryAfter} seconds.` })] : []),
    ...(PASSING.has(error.status) ? [again] : []));
}

/** What is given cannot be checked; what was shown before belongs to another file. */
function refuse(words) {
  show(element("strong", { text: words }));
}

function show(...nodes) {
  $("alert").replaceChildren(...nodes);
  $("alert").hidden = false;
}

takeFiles({
  zone: $("drop"),
  input: $("file"),
  take: check,
  refuse: (words) => {
    asking?.abort();
    quieten();
    end();
    $("file-name").hidden = true;
    refuse(words);
  },
});
$("cancel").onclick = () => {
  asking?.abort();
  end();
  $("file-name").hidden = true;
};
