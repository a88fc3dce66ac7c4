// What a file says of itself, as it may be shown: a stranger wrote it.

import { element } from "./elements.js";

const MOST_LETTERS = 300;
// Control characters, line separators and what turns the text around (UAX 9) would show another
// text than is there; letters under dozens of marks would lie over their neighbours.
const MISLEADING = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00AD\u061C\u200B\u200E\u200F\u202A-\u202E\u2060-\u2069\uFEFF\u{E0000}-\u{E0FFF}]/gu;
const PILED = /(\p{M}{4})\p{M}+/gu;

/** A claim as plain words, cut where it has no end: the whole of it stands in the JSON. */
export function claimed(words, most = MOST_LETTERS) {
  const letters = Array.from(String(words).slice(0, 2 * most + 2));
  const shown = letters.slice(0, most).join("") + (letters.length > most ? " …" : "");
  return shown.replaceAll(MISLEADING, "\uFFFD").replaceAll(PILED, "$1");
}

/** A claim among other words: its own direction changes nothing around it. */
export function claim(words) {
  return element("bdi", { text: claimed(words) });
}
