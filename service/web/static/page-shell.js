// What the owners' and the operators' pages have in common: signing in and out, one view at a time.

import { session } from "./api.js";
import { $ } from "./elements.js";
import { complain, guarded, once, quieten, whenSignedOut } from "./owner-frame.js";
import { direction, language } from "./owner-text.js";

/**
 * A page with a token of its own and views that its address names (`#view` or `#view&detail`).
 *
 * `token` is the name it is kept under, `text` the words of the page ({page, views}), `views` by
 * name what shows each: an async function of the address's detail. `recognise` asks the service
 * who acts and resolves with whether there are views for them; `forget` empties what was shown.
 */
export function pageShell({ token, text, views, recognise, forget }) {
  const first = Object.keys(views)[0];
  let known = false;
  session.name = token;

  function say() {
    document.documentElement.lang = language;
    document.documentElement.dir = direction;
    document.title = text.page.title;
    for (const place of document.querySelectorAll("[data-text]")) place.textContent = text.page[place.dataset.text];
    for (const place of document.querySelectorAll("[data-label]")) place.setAttribute("aria-label", text.page[place.dataset.label]);
  }

  /** Another may sign in here next: nothing of what this one saw stays in the page. */
  function signOut() {
    session.token = null;
    known = false;
    for (const id of ["main", "views", "leave", "acting"]) $(id).hidden = true;
    for (const place of document.querySelectorAll("[data-shown]")) place.replaceChildren();
    $("acting").textContent = "";
    forget();
    if ($("ask").open) $("ask").close();
    $("sign-in").hidden = false;
    $("sign-in-token").focus();
  }

  function address() {
    const [named, detail = ""] = location.hash.slice(1).split("&");
    return Object.hasOwn(views, named) ? { view: named, detail } : { view: first, detail: "" };
  }

  async function showView({ moved = false } = {}) {
    const { view, detail } = address();
    for (const name of Object.keys(views)) {
      $(`view-${name}`).hidden = name !== view;
      const link = document.querySelector(`#views a[href="#${name}"]`);
      if (name === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${text.views[view]} · ${text.page.title}`;
    if (moved) $(`title-${view}`).focus();
    $("main").setAttribute("aria-busy", "true");
    try {
      await views[view](detail);
    } finally {
      $("main").removeAttribute("aria-busy");
    }
  }

  /** Ask anew who acts here and what it sees; every change of something ends here. */
  async function reload() {
    known = await recognise();
    $("sign-in").hidden = true;
    $("main").hidden = $("leave").hidden = false;
    $("views").hidden = $("acting").hidden = !known;
    if (known) await showView();
  }

  /** A token in the address leaves it, and the history, at once; whether there was one. */
  function takeToken() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!given) return false;
    history.replaceState(null, "", location.pathname);
    if (session.token) signOut();
    session.token = given;
    return true;
  }

  async function start() {
    takeToken();
    if (!session.token) return signOut();
    try {
      return await reload();
    } catch (error) {
      if ($("main").hidden && error.name !== "AbortError") signOut(); // A token of another role, say: ask for one that fits.
      throw error;
    }
  }

  return {
    reload,
    /** Begin, once the page's modules are ready. */
    begin() {
      say();
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
      addEventListener("hashchange", guarded(() => {
        quieten();
        return takeToken() || !known ? start() : showView({ moved: true });
      }));
      start().catch(complain);
    },
  };
}
