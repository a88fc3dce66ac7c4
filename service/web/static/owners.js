// The owners' page: who acts here, and the parts of the page one sees one at a time.

import { session } from "./api.js";
import { $ } from "./elements.js";
import { complain, guarded, once, quieten, whenSignedOut } from "./owner-frame.js";
import { showGrants } from "./owner-grants.js";
import { prepareRegistration, showKeys } from "./owner-keys.js";
import { showMandates } from "./owner-mandates.js";
import { prepareRecord, showRecord } from "./owner-record.js";
import { acting, recognise } from "./owner-session.js";
import { prepareStatements, showStatement } from "./owner-statements.js";
import { direction, language, text } from "./owner-text.js";
import { showTodo } from "./owner-todo.js";

const FIRST = "todo";
const VIEWS = {
  todo: async () => {
    await showTodo(reload);
    await showMandates(reload);
  },
  grants: () => showGrants(reload),
  statements: showStatement,
  record: showRecord,
  keys: () => showKeys(reload),
};

session.name = "reprise.owner-token"; // A listener's token in the same tab is another one.

function say() {
  document.documentElement.lang = language;
  document.documentElement.dir = direction;
  document.title = text.page.title;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = text.page[place.dataset.text];
  for (const place of document.querySelectorAll("[data-label]")) place.setAttribute("aria-label", text.page[place.dataset.label]);
  $("kind").replaceChildren(...Object.entries(text.kinds).map(([value, words]) => new Option(words, value)));
}

function signOut() {
  session.token = null;
  for (const id of ["main", "views", "leave", "acting"]) $(id).hidden = true;
  $("sign-in").hidden = false;
  $("sign-in-token").focus();
}

/** The part that the address names; without a party there is only registering. */
function current() {
  const [named] = location.hash.slice(1).split("&");
  return named in VIEWS ? named : FIRST;
}

async function showView({ moved = false } = {}) {
  const view = current();
  for (const name of Object.keys(VIEWS)) {
    $(`view-${name}`).hidden = name !== view;
    const link = document.querySelector(`#views a[href="#${name}"]`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${text.views[view]} · ${text.page.title}`;
  if (moved) $(`title-${view}`).focus();
  $("main").setAttribute("aria-busy", "true");
  try {
    await VIEWS[view]();
  } finally {
    $("main").removeAttribute("aria-busy");
  }
}

/** Ask anew who acts here and what it sees; every change of something ends here. */
async function reload() {
  const registered = await recognise();
  $("sign-in").hidden = true;
  $("main").hidden = $("leave").hidden = false;
  $("views").hidden = $("acting").hidden = !registered;
  $("registration").hidden = registered;
  $("parts").hidden = !registered;
  if (!registered) return prepareRegistration(reload);
  $("acting").textContent = text.actingFor(acting.party.name);
  return showView();
}

async function start() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.get("token")) {
    session.token = asked.get("token");
    // The token leaves the address bar and the history at once.
    history.replaceState(null, "", location.pathname);
  }
  if (!session.token) return signOut();
  try {
    return await reload();
  } catch (error) {
    if ($("main").hidden) signOut(); // A token of another role, say: ask for one that fits.
    throw error;
  }
}

say();
prepareStatements();
prepareRecord();
whenSignedOut(signOut);
$("sign-in-form").onsubmit = once($("sign-in-button"), () => {
  session.token = $("sign-in-token").value.trim();
  $("sign-in-token").value = "";
  return start();
});
$("leave").onclick = () => {
  session.token = null;
  location.replace(location.pathname); // Nothing of what was shown stays in the page.
};
addEventListener("hashchange", guarded(() => { quieten(); return acting.party ? showView({ moved: true }) : start(); }));
start().catch(complain);
