// Amounts in minor units, as people write them. (Intl's own digits follow CLDR, which differs from
// ISO 4217 for some currencies by a factor of a thousand.)

const DIGITS = {
  0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  3: "BHD IQD JOD KWD LYD OMR TND",
  4: "CLF UYW",
};
const EXPONENTS = new Map(Object.entries(DIGITS).flatMap(([digits, codes]) =>
  codes.split(" ").map((code) => [code, Number(digits)])));

/** How many digits a currency's minor units have (ISO 4217). */
export function exponent(currency) {
  return EXPONENTS.get(currency) ?? 2;
}

/** A whole number of minor units with its currency: 1,234.50 EUR. Throws for what is not whole. */
export function amount(minor, currency, language = "en") {
  if (!Number.isSafeInteger(minor)) throw new TypeError("an amount is a whole number");
  const digits = exponent(currency);
  const format = new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const text = String(Math.abs(minor)).padStart(digits + 1, "0");
  const whole = digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text;
  return `${format.format(`${minor < 0 ? "-" : ""}${whole}`)}\u00a0${currency}`;
}

/** What a person wrote as an amount, in minor units; null where it is none. Exact: no floats. */
export function minorUnits(written, currency) {
  return scaled(written, exponent(currency));
}

/** What a person wrote as a percentage, in parts per million; null where it is none. */
export function partsPerMillion(written) {
  const ppm = scaled(written, 4);
  return ppm !== null && ppm <= 1_000_000 ? ppm : null;
}

function scaled(written, digits) {
  // One separator, point or comma, for decimals: one for thousands would be read as another amount.
  const found = /^(\d{1,12})(?:[.,](\d+))?$/.exec(written.trim());
  if (!found || (found[2] ?? "").length > digits) return null;
  const value = Number(`${found[1]}${(found[2] ?? "").padEnd(digits, "0")}`);
  return Number.isSafeInteger(value) ? value : null;
}

/** Minor units as a person would write them into a field: 1.99. */
export function written(minor, digits) {
  const text = String(minor).padStart(digits + 1, "0");
  return digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text;
}

/** Parts per million as a percentage, exactly. */
export function percent(ppm, language = "en") {
  const format = new Intl.NumberFormat(language, { maximumFractionDigits: 4 });
  return `${format.format(ppm / 10_000)}\u00a0%`;
}
