// Elements of a page, made in code.

export const $ = (id) => document.getElementById(id);

/** Whether an element is still where a reader can come to it: a view that is left is drawn anew. */
export const onPage = (node) => node.isConnected && !node.closest("[hidden]");

/** An element with text, classes and attributes. */
export function element(tag, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}
