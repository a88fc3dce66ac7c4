// What the listeners' pages say when something does not work.

import { Problem } from "./api.js";
import { element } from "./elements.js";

/** A refusal in words: what it is, what to do, the limit that was met and who can change it. */
export function refusal(error) {
  const { limit, changedBy } = error;
  const met = [limit && `Limit: ${limit}.`, changedBy && `It can be changed by ${changedBy}.`].filter(Boolean);
  return [
    element("strong", { text: error instanceof Problem ? error.title : "This did not work" }),
    error.message,
    ...(met.length ? [element("small", { text: met.join(" ") })] : []),
  ];
}
