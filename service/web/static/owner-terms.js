// The form of a template: what listeners may change on a track, and within which limits.

import { element } from "./elements.js";
import {
  Misfit, box, choice, field, group, line, localMoment, moment, momentIn, number, numberIn, onSubmit, tick,
} from "./owner-form.js";
import { exponent, minorUnits, partsPerMillion, percent, written } from "./money.js";
import { isolated, language, text } from "./owner-text.js";

const words = text.terms;
const DENSITIES = ["sparse", "normal", "busy"];
// What the API takes at most (see `service/templates/terms.py`, which refuses what is beyond).
const TEMPO = { min: "-25", max: "25" };
const KEY = { min: "-6", max: "6", step: "1" };

/**
 * A form for terms; `onSend(terms)` gets them as the API takes them.
 *
 * `options` is what the service offers (GET /v1/template-options), `track` what they are for, and
 * `base` the terms of an earlier version: what this form does not know of them stays as it is.
 */
export function termsForm({ options, track, base = {}, label, onSend }) {
  const parts = sounding(options, base);
  const bounds = boundsOf(base);
  const limits = limitsOf(base);
  const money = moneyOf(options, track, base);
  const revocation = choice(Object.entries(words.afterRevocation), base.on_revocation ?? "keep");
  const send = element("button", { class: "primary", text: label });
  const form = element("form", { class: "terms" },
    parts.node, bounds.node, limits.node, money.node,
    group(words.revocation, field(words.revocationField, revocation, { pointer: "/body/terms/on_revocation" })),
    element("p", { class: "hint", text: words.never }), send);
  onSubmit(form, send, () => {
    const { price: _price, quota_total: _quota, ...kept } = base;
    return onSend({
      ...kept, ...parts.value(), ...bounds.value(), ...limits.value(), ...money.value(), on_revocation: revocation.value,
    });
  });
  return form;
}

function sounding({ checkpoints }, base) {
  const byName = new Map(checkpoints.map((card) => [card.name, card]));
  const named = (base.checkpoints ?? []).map((name) => byName.get(name) ?? { name, role: "other" });
  const generators = checkpoints.filter((card) => card.role === "generator");
  const present = [...new Set(generators.flatMap((card) => card.parts))].sort();
  const part = choice(present.map((name) => [name, text.reading.part(name)]), base.part);
  const model = choice([]);
  const separator = choice([]);
  const others = line({ value: named.filter((card) => card.role === "other").map(({ name }) => name).join(", "), spellcheck: "false" });
  const styles = element("fieldset", { class: "together", "data-pointer": "/body/terms/styles" });
  const controls = element("fieldset", { class: "together" });
  const said = element("small", { class: "hint" });
  const own = line({ spellcheck: "false" });
  const free = box();
  const dense = new Map(DENSITIES.map((density) => [density, box({ value: density })]));
  const toggles = new Map(["fills", "swing"].map((name) => [name, box()]));
  const describe = ({ title, commercial_use: commercial, licence }) => `${title} (${licence}${commercial ? "" : `; ${words.notCommercialModel}`})`;
  const offer = (control, cards, preferred) => {
    control.replaceChildren(...cards.map((card) => element("option", { value: card.name, text: describe(card) })));
    const wanted = cards.find((card) => card.name === preferred) ?? cards.find((card) => card.commercial_use);
    if (wanted) control.value = wanted.name;
  };
  let boxes = [];
  const showModel = () => {
    const card = byName.get(model.value);
    const chosen = new Set(base.styles ?? card?.styles ?? []);
    boxes = (card?.styles ?? []).map((style) => box({ value: style, checked: chosen.has(style.toLowerCase()) || chosen.has(style) }));
    const closed = boxes.length > 0;
    own.value = closed ? "" : [...chosen].join(", ");
    free.checked = !closed && Boolean(base.free_text);
    free.disabled = closed;
    styles.replaceChildren(element("legend", { text: words.styles }),
      element("p", { class: "hint", text: closed ? words.stylesHow : words.ownStylesHow }),
      ...(closed ? [element("div", { class: "ticks" }, ...boxes.map((one) => tick(one.value, one)))] : [field(words.ownStyles, own)]),
      tick(words.freeText, free, { hint: closed ? words.freeTextClosed : words.freeTextHow }));
    const has = new Set(card?.controls ?? []);
    const before = base.part !== undefined; // A first version offers all that there is.
    for (const [density, one] of dense) one.checked = before ? (base.densities ?? []).includes(density) : true;
    for (const [name, one] of toggles) one.checked = before ? Boolean(base[name]) : true;
    controls.hidden = has.size === 0;
    controls.replaceChildren(element("legend", { text: words.controls }),
      ...(has.has("density") ? [element("div", { class: "ticks" }, ...[...dense].map(([density, one]) => tick(words.density[density], one)))] : []),
      ...[...toggles].filter(([name]) => has.has(name)).map(([name, one]) => tick(words[name], one)));
    said.textContent = card ? words.modelLimits(card.limits) : words.noModel;
  };
  const showPart = () => {
    const names = named.map((card) => card.name);
    const fit = (role, has) => checkpoints.filter((card) => card.role === role && has(card));
    offer(model, fit("generator", (card) => card.parts.includes(part.value)), names.find((name) => byName.get(name)?.role === "generator"));
    const separators = fit("separator", (card) => card.sources.includes(part.value));
    offer(separator, separators, names.find((name) => byName.get(name)?.role === "separator"));
    separator.append(element("option", { value: "", text: words.noSeparator }));
    showModel();
  };
  part.addEventListener("change", showPart);
  model.addEventListener("change", showModel);
  showPart();
  if (named.length && !named.some((card) => card.role === "separator")) separator.value = "";
  const names = (control) => control.value.split(",").map((name) => name.trim()).filter(Boolean);
  return {
    node: group(words.sound,
      field(words.part, part, { pointer: "/body/terms/part" }),
      field(words.model, model, { pointer: "/body/terms/checkpoints" }), said,
      field(words.separator, separator, { hint: words.separatorHow }),
      styles, controls,
      element("details", {}, element("summary", { text: words.more }), field(words.others, others, { hint: words.othersHow }))),
    value() {
      const card = byName.get(model.value);
      if (!card) throw new Misfit(model, words.noModel);
      const chosen = boxes.length ? boxes.filter((one) => one.checked).map((one) => one.value) : names(own);
      if (!chosen.length) throw new Misfit(boxes[0] ?? own, words.styleNeeded);
      const has = new Set(card.controls);
      return {
        part: part.value,
        styles: chosen,
        free_text: free.checked,
        checkpoints: [...new Set([model.value, separator.value, ...names(others)].filter(Boolean))],
        densities: has.has("density") ? DENSITIES.filter((density) => dense.get(density).checked) : [],
        fills: has.has("fills") && toggles.get("fills").checked,
        swing: has.has("swing") && toggles.get("swing").checked,
      };
    },
  };
}

function boundsOf(base) {
  const made = [];
  const pair = (name, usual, attributes) => {
    const { min, max } = base[name] ?? usual;
    const from = number({ value: String(min), required: true, ...attributes });
    const to = number({ value: String(max), required: true, ...attributes });
    made.push([name, from, to]);
    return element("fieldset", { class: "pair-of" }, element("legend", { text: text.reading.terms[name] }),
      element("p", { class: "hint", text: words.boundHow[name] }),
      element("div", { class: "row wrap" }, field(words.least, from, { pointer: `/body/terms/${name}/min` }), field(words.most, to, { pointer: `/body/terms/${name}` })));
  };
  return {
    node: group(words.bounds,
      pair("tempo_percent", { min: 0, max: 0 }, TEMPO),
      pair("key_semitones", { min: 0, max: 0 }, KEY),
      element("details", {}, element("summary", { text: words.more }),
        pair("redo_seconds", { min: 0, max: 3600 }, { min: "0", max: "3600" }),
        pair("length_seconds", { min: 0, max: 3600 }, { min: "0", max: "3600" }),
        pair("guidance", { min: 0, max: 4 }, { min: "0", max: "10" }))),
    value() {
      return Object.fromEntries(made.map(([name, from, to]) => {
        const [min, max] = [numberIn(from), numberIn(to)];
        if (min > max) throw new Misfit(to, words.orderWrong);
        return [name, { min, max }];
      }));
    },
  };
}

function limitsOf(base) {
  const each = number({ value: String(base.quota_per_listener ?? 10), min: "1", max: "1000", step: "1", required: true });
  const all = number({ value: base.quota_total === undefined ? "" : String(base.quota_total), min: "1", max: "100000000", step: "1", placeholder: text.reading.anyNumber });
  const where = line({ value: (base.territories ?? ["*"]).filter((code) => code !== "*").join(", "), spellcheck: "false", placeholder: words.everywhere });
  const named = element("small", { class: "hint", role: "status" });
  const codes = () => where.value.toUpperCase().split(/[\s,;]+/).filter(Boolean);
  const countries = new Intl.DisplayNames(language, { type: "region", fallback: "none" });
  const country = (code) => (/^[A-Z]{2}$/.test(code) ? countries.of(code) : undefined);
  const echo = () => { named.textContent = codes().map((code) => country(code) ?? words.noCountry(code)).join(", "); };
  where.addEventListener("input", echo);
  echo();
  const from = moment({ value: localMoment(base.not_before) });
  const until = moment({ value: localMoment(base.not_after) });
  return {
    node: group(words.limits,
      element("div", { class: "row wrap" },
        field(words.quotaEach, each, { pointer: "/body/terms/quota_per_listener" }),
        field(words.quotaAll, all, { pointer: "/body/terms/quota_total" })),
      field(words.where, where, { pointer: "/body/terms/territories", hint: words.whereHow }), named,
      element("div", { class: "row wrap" },
        field(words.from, from, { pointer: "/body/terms/not_before" }), field(words.until, until, { pointer: "/body/terms/not_after" }))),
    value() {
      const unknown = codes().find((code) => !country(code));
      if (unknown) throw new Misfit(where, words.noCountry(unknown));
      if (from.value && until.value && from.value >= until.value) throw new Misfit(until, words.datesWrong);
      return {
        quota_per_listener: numberIn(each),
        ...(all.value.trim() && { quota_total: numberIn(all) }),
        territories: codes().length ? [...new Set(codes())] : ["*"],
        not_before: momentIn(from),
        not_after: momentIn(until),
      };
    },
  };
}

function moneyOf({ platform_fee_ppm: fee }, track, base) {
  const { price } = base;
  const sides = new Set(track.shares.map((share) => share.side));
  const commercial = box({ checked: Boolean(base.commercial) });
  const currency = line({ value: price?.currency ?? "EUR", maxlength: "3", spellcheck: "false" });
  const digits = exponent(price?.currency ?? "EUR");
  const amountOf = (minor) => line({ inputmode: "decimal", value: minor === undefined ? "" : written(minor, digits), placeholder: written(0, digits) });
  const [remix, plays] = [amountOf(price?.per_remix), amountOf(price?.per_thousand_plays)];
  const recording = line({ inputmode: "decimal", value: price ? written(price.recording_ppm, 4).replace(/\.?0+$/, "") : sides.has("composition") ? "50" : "100" });
  const kept = Math.max(fee, price?.platform_fee_ppm ?? 0);
  const priced = element("fieldset", { class: "together" }, element("legend", { text: words.price }),
    element("p", { class: "hint", text: words.priceHow }),
    element("div", { class: "row wrap" },
      field(words.currency, currency, { pointer: "/body/terms/price/currency", wide: false }),
      field(words.perRemix, remix, { pointer: "/body/terms/price/per_remix" }),
      field(words.perPlays, plays, { pointer: "/body/terms/price/per_thousand_plays" })),
    ...(sides.has("composition") ? [field(words.recording, recording, { pointer: "/body/terms/price/recording_ppm", hint: words.recordingHow })] : []),
    element("p", { text: words.fee(percent(kept, language)) }));
  const show = () => { priced.hidden = !commercial.checked; };
  commercial.addEventListener("change", show);
  show();
  const minor = (control, code) => {
    if (!control.value.trim()) return 0;
    const found = minorUnits(control.value, code);
    if (found === null) throw new Misfit(control, words.notAmount(exponent(code), isolated(code)));
    return found;
  };
  return {
    node: group(words.use, tick(words.commercial, commercial, { hint: words.commercialHow, pointer: "/body/terms/commercial" }), priced),
    value() {
      if (!commercial.checked) return { commercial: false };
      const code = currency.value.trim().toUpperCase();
      if (!/^[A-Z]{3}$/.test(code)) throw new Misfit(currency, words.notCurrency);
      const [perRemix, perPlays] = [minor(remix, code), minor(plays, code)];
      if (!perRemix && !perPlays) return { commercial: true };
      const ppm = sides.has("composition") ? partsPerMillion(recording.value) : 1_000_000;
      if (ppm === null) throw new Misfit(recording, text.shares.notPercent);
      return {
        commercial: true,
        price: { currency: code, per_remix: perRemix, per_thousand_plays: perPlays, platform_fee_ppm: kept, recording_ppm: ppm },
      };
    },
  };
}
