// Statements: what a month earned, line by line.

import { json, request } from "./api.js";
import { $, element } from "./elements.js";
import { amount, percent } from "./money.js";
import { moment, once, table } from "./owner-frame.js";
import { isolated, language, text } from "./owner-text.js";
import { save } from "./saving.js";

const words = text.statements;
const path = () => `/v1/statements?period=${encodeURIComponent($("period").value)}`;

/** The form and its buttons; the month begins as the present one (UTC). */
export function prepareStatements() {
  $("period").value = new Date().toISOString().slice(0, 7);
  $("statement-form").onsubmit = once($("statement-show"), showStatement);
  $("statement-csv").onclick = once($("statement-csv"), async () => {
    const response = await request(path(), { headers: { Accept: "text/csv" } });
    save(await response.blob(), `statement-${$("period").value}.csv`);
  });
}

/** The statement of the month that is chosen. */
export async function showStatement() {
  const made = await json(path());
  const money = (minor, currency) => amount(minor, currency, language);
  const balances = made.balances.map(({ currency, opening, earned, closing }) => ({
    currency, opening: money(opening, currency), earned: money(earned, currency), closing: money(closing, currency),
  }));
  const code = (id) => element("code", { text: id });
  const lines = made.lines.map((line) => ({
    at: moment(line.at),
    kind: words.kinds[line.kind] ?? line.kind,
    title: isolated(line.title),
    job: code(line.job),
    template: code(line.template),
    grant: code(line.grant),
    role: words.role(line.role, line.side),
    ppm: line.ppm === null ? "" : percent(line.ppm, language),
    amount: money(line.amount, line.currency),
    posting: String(line.posting),
  }));
  $("statement").replaceChildren(
    element("h3", { text: words.caption(made.name, made.period) }),
    element("p", { class: "hint", text: made.final ? words.final : words.open }),
    ...(balances.length ? [table(words.balancesTable, words.balances, balances, { numbers: ["opening", "earned", "closing"] })] : []),
    lines.length ? table(words.table, words.columns, lines, { numbers: ["ppm", "amount", "posting"] })
      : element("p", { text: words.noLines }));
}
