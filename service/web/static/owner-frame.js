// What every part of the owners' page uses: words for what went wrong or was done, one question
// before what cannot be undone, tables, and moments.

import { Problem } from "./api.js";
import { $, element } from "./elements.js";
import { text } from "./owner-text.js";
import { utc } from "./reading.js";

let onSignedOut = () => {};

/** Whom to tell when the service refuses the bearer token. */
export function whenSignedOut(action) {
  onSignedOut = action;
}

/** Whatever goes wrong ends here, in words, and the focus goes to them. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  quieten();
  if (error instanceof Problem && error.status === 401) onSignedOut();
  const known = error instanceof Problem;
  const { limit, changedBy } = error;
  $("alert").replaceChildren(
    element("strong", { text: known ? error.title : text.problem.unexpected }),
    element("span", { text: error.message }),
    ...(limit ? [element("small", { text: text.problem.limit(limit) })] : []),
    ...(changedBy ? [element("small", { text: text.problem.changedBy(changedBy) })] : []));
  $("alert").hidden = false;
  $("alert").focus();
}

/** What was done, in words, and the focus goes to them: the button that did it may be gone. */
export function tell(words) {
  quieten();
  $("done").textContent = words;
  $("done").hidden = false;
  $("done").focus();
}

/** Take back what was said before. */
export function quieten() {
  for (const id of ["alert", "done"]) $(id).hidden = true;
}

/** The action, with what it throws put into words. */
export const guarded = (action) => async (...args) => {
  try {
    return await action(...args);
  } catch (error) {
    return complain(error);
  }
};

/** A button whose action runs once at a time. */
export function button(label, action, attributes = {}) {
  const made = element("button", { type: "button", text: label, ...attributes });
  made.addEventListener("click", once(made, action));
  return made;
}

/** An action that is not begun again (by this button) before it has ended. */
export function once(control, action) {
  const run = guarded(action);
  return async (event) => {
    event?.preventDefault();
    if (control.getAttribute("aria-busy") === "true") return;
    quieten();
    control.setAttribute("aria-busy", "true");
    try {
      await run(event);
    } finally {
      control.removeAttribute("aria-busy");
    }
  };
}

/** Ask before what cannot be undone; resolves with whether it is wanted. Escape says no. */
export function confirmed(title, paragraphs, label, { danger = false } = {}) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-words").replaceChildren(...paragraphs.map((words) => element("p", { text: words })));
  const yes = element("button", { type: "button", class: danger ? "danger" : "primary", text: label });
  const no = element("button", { type: "button", class: "quiet", text: text.page.cancel, autofocus: true });
  $("ask-buttons").replaceChildren(no, yes);
  return new Promise((resolve) => {
    let wanted = false;
    yes.addEventListener("click", () => { wanted = true; dialog.close(); });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => resolve(wanted), { once: true });
    dialog.showModal();
  });
}

/** A moment of the API's, to the second. */
export const moment = (value) => utc(value);

/** A term and its value in a list of them. */
export function row(term, ...values) {
  return element("div", {}, element("dt", { text: term }), element("dd", {}, ...values));
}

/** A table that can be scrolled by keyboard where it is wider than the page. */
export function table(caption, columns, rows, { numbers = [] } = {}) {
  const names = Object.keys(columns);
  const cell = (name, value) => element("td", { class: numbers.includes(name) ? "number" : null }, value ?? "");
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {},
      element("caption", { text: caption, class: "visually-hidden" }),
      element("thead", {}, element("tr", {}, ...names.map((name) =>
        element("th", { scope: "col", text: columns[name], class: numbers.includes(name) ? "number" : null })))),
      element("tbody", {}, ...rows.map((values) => element("tr", {}, ...names.map((name) => cell(name, values[name])))))));
}

/** A card with a heading; names in it are isolated, so that none turns it round. */
export function card(title, ...children) {
  return element("article", { class: "card" }, element("h3", { text: title }), ...children);
}

/** Cards in their place, or the words for none. */
export function fill(id, none, cards) {
  $(id).replaceChildren(...(cards.length ? cards : [element("p", { class: "hint", text: none })]));
}
