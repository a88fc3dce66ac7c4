// Forms: labelled controls, and what is wrong with one said beside it.

import { Problem } from "./api.js";
import { element } from "./elements.js";
import { once } from "./owner-frame.js";
import { text } from "./owner-text.js";

const words = text.form;
let made = 0;

/** What a person wrote does not fit; `control` is where, the message says why. */
export class Misfit extends Error {
  constructor(control, message) {
    super(message);
    this.control = control;
  }
}

/**
 * A label over its control. `pointer` is where the value stands in the request (a JSON pointer as
 * problems have it, below /body): a refusal that names it, or a place below it, is said here.
 */
export function field(label, control, { hint, pointer, wide = true } = {}) {
  const said = hint && element("small", { class: "hint", id: `hint-${made++}`, text: hint });
  if (said) control.setAttribute("aria-describedby", said.id);
  if (pointer) control.dataset.pointer = pointer;
  return element("div", { class: wide ? "field grow" : "field" },
    element("label", { for: named(control), text: label }), control, ...(said ? [said] : []));
}

/** A tick box and its label. */
export function tick(label, control, { hint, pointer } = {}) {
  if (pointer) control.dataset.pointer = pointer;
  const said = hint && element("small", { class: "hint", id: `hint-${made++}`, text: hint });
  if (said) control.setAttribute("aria-describedby", said.id);
  return element("div", {}, element("label", { class: "tick" }, control, element("span", { text: label })), ...(said ? [said] : []));
}

/** Controls that belong together, under a legend. */
export function group(legend, ...children) {
  return element("fieldset", { class: "together" }, element("legend", { text: legend }), ...children);
}

export const box = (attributes = {}) => element("input", { type: "checkbox", ...attributes });
export const line = (attributes = {}) => element("input", { type: "text", autocomplete: "off", ...attributes });
export const number = (attributes = {}) => element("input", { type: "number", inputmode: "decimal", step: "any", ...attributes });
export const moment = (attributes = {}) => element("input", { type: "datetime-local", step: "1", ...attributes });

/** A choice of one: [value, words] each. */
export function choice(options, chosen, attributes = {}) {
  const control = element("select", attributes, ...options.map(([value, said]) => element("option", { value, text: said })));
  if (chosen !== undefined) control.value = chosen;
  return control;
}

/** A number that was written, or null for a blank. */
export const numberIn = (control) => (control.value.trim() === "" ? null : Number(control.value));

/** A local date and time as the API takes one, or null for a blank. */
export const momentIn = (control) => (control.value ? new Date(control.value).toISOString() : null);

/** A moment of the API's for such a control, in local time. */
export function localMoment(value) {
  if (!value) return "";
  const at = new Date(value);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** Run `action` when the form is sent; what does not fit is said beside its control. */
export function onSubmit(form, button, action) {
  form.noValidate = true; // The same checks, said here in the page and not in a bubble that goes.
  form.addEventListener("submit", once(button, async () => {
    clear(form);
    const refused = [...form.elements].filter((control) => control.willValidate && !control.validity.valid);
    for (const control of refused) point(control, control.validationMessage);
    if (refused.length) return reveal(refused[0]);
    try {
      await action();
    } catch (error) {
      if (error instanceof Misfit) {
        point(error.control, error.message);
        return reveal(error.control);
      }
      const first = error instanceof Problem ? placed(form, error) : null;
      if (!first) throw error;
      reveal(first);
    }
  }));
}

function named(control) {
  control.id ||= `control-${made++}`;
  return control.id;
}

function clear(form) {
  for (const said of form.querySelectorAll(".wrong")) said.remove();
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-errormessage");
  }
}

function point(control, message) {
  const said = element("small", { class: "wrong", id: `wrong-${made++}`, text: message });
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-errormessage", said.id);
  (control.closest(".tick") ?? control).after(said);
}

function reveal(control) {
  for (let place = control.closest("details"); place; place = place.parentElement.closest("details")) place.open = true;
  (control.matches("fieldset") ? control.querySelector("input, select") ?? control : control).focus();
}

/** Say each fault of a refusal beside the control of its place; the first one, if all have theirs. */
function placed(form, problem) {
  const faults = problem.errors.map(({ pointer, detail }) => ({ pointer, detail: detail.replace(/^Value error, /, "") }));
  // Other refusals name a limit of the terms: price.currency.
  if (!faults.length && /^[a-z_.]+$/.test(problem.limit ?? "")) {
    faults.push({ pointer: `/body/terms/${problem.limit.replaceAll(".", "/")}`, detail: problem.message });
  }
  const controls = [...form.querySelectorAll("[data-pointer]")];
  const found = faults.map(({ pointer, detail }) => {
    const fits = controls.filter(({ dataset }) => pointer === dataset.pointer || pointer.startsWith(`${dataset.pointer}/`));
    const control = fits.sort((one, other) => other.dataset.pointer.length - one.dataset.pointer.length)[0];
    if (control) point(control, problem.changedBy ? `${detail} (${text.problem.changedBy(problem.changedBy)})` : detail);
    return control;
  });
  return found.length && found.every(Boolean) ? found[0] : null;
}

/** The words for something that has to be there. */
export const needed = (control, message = words.needed) => {
  if (!control.value.trim()) throw new Misfit(control, message);
  return control.value.trim();
};
