// The party's keys: registering with one, changing it, reporting its loss.

import { json } from "./api.js";
import { canMakeKeys, heldKey, makeKey, statement } from "./browser-keys.js";
import { $, element } from "./elements.js";
import { onSubmit } from "./owner-form.js";
import { button, card, confirmed, moment, row, table, tell } from "./owner-frame.js";
import { acting, presentKey, subject } from "./owner-session.js";
import { isolated, text } from "./owner-text.js";

// What a statement is good for (RFC 7515 `typ`); none can stand for another.
const REGISTRATION = "party-key+jws";
const SUCCESSOR = "party-key-proof+jws";
const ROTATION = "party-key-rotation+jws";
const IN_CUSTODY = "service"; // Stands for the new key's name where the service is to make it.
const words = text.keys;
let prepared = false;

/** Where the party's present key is: "lost", "service", "here" or "elsewhere"; and the key, if here. */
export async function whereKey() {
  const present = presentKey();
  if (present.state === "lost") return { where: "lost" };
  if (present.custody === "service") return { where: "service" };
  const key = await heldKey(present.kid);
  return key ? { where: "here", key } : { where: "elsewhere" };
}

/** The form that registers; `onChange` is called when the party is there. */
export async function prepareRegistration(onChange) {
  const able = await canMakeKeys();
  $("keeper-browser").disabled = !able;
  $("keeper-browser").checked = able;
  $("keeper-service").checked = !able;
  $("unsupported").hidden = able;
  $("unsupported").textContent = words.unsupported;
  if (prepared) return;
  prepared = true;
  onSubmit($("register"), $("register-button"), async () => {
    const form = new FormData($("register"));
    const body = { kind: form.get("kind"), name: form.get("name") };
    for (const name of ["isni", "ipi"]) if (form.get(name).trim()) body[name] = form.get(name).trim();
    if (form.get("keeper") === "service") body.custody = "service";
    else {
      const key = await makeKey();
      body.public_key = key.publicKey;
      body.proof = await statement(key, REGISTRATION, { sub: subject(), kid: key.kid });
    }
    const party = await json("/v1/parties", { method: "POST", body });
    await onChange();
    tell(words.registered(party.name));
  });
}

/** Show the party and its keys. */
export async function showKeys(onChange) {
  const { party, keys } = acting;
  const { where, key } = await whereKey();
  const able = await canMakeKeys();
  const identity = card(isolated(party.name),
    element("dl", { class: "credits" },
      row(words.kind, text.kinds[party.kind] ?? party.kind),
      row(words.id, element("code", { text: party.id })),
      ...(party.isni ? [row(words.isni, party.isni)] : []),
      ...(party.ipi ? [row(words.ipi, party.ipi)] : []),
      row(words.present, element("code", { text: party.kid })),
      row(words.where, where === "lost" ? words.states.lost : words[where])));
  const history = card(words.all, table(words.all, words.columns, keys.map((one) => ({
    kid: element("code", { text: one.kid }),
    state: words.states[one.state],
    custody: words.custody[one.custody],
    since: moment(one.since),
    until: one.lost_since ?? one.retired_at ? moment(one.lost_since ?? one.retired_at) : "",
    how: [words.introduced[one.introduced_by] ?? "", one.reason && isolated(one.reason)].filter(Boolean).join(": "),
  }))));
  $("keys-content").replaceChildren(identity,
    ...(able ? [] : [element("p", { class: "hint", text: words.unsupported })]),
    where === "lost" ? recovery(able) : change({ where, key, able, onChange }),
    loss(onChange), history);
}

function change({ where, key, able, onChange }) {
  if (where === "elsewhere") return card(words.change, element("p", { text: words.changeElsewhere }));
  const kid = acting.party.kid;
  const replaced = async (body) => {
    const made = await json(`/v1/parties/${acting.party.id}/keys`, { method: "POST", body });
    await onChange();
    tell(words.changed(made.kid));
  };
  const claims = (next) => ({ party: acting.party.id, old_kid: kid, new_kid: next });
  // A key in the service's custody gives its word by itself.
  const authorized = async (next) => (key ? { authorization: await statement(key, ROTATION, claims(next)) } : {});
  const toBrowser = button(words.toBrowser, async () => {
    if (!await confirmed(words.change, [words.toBrowserAsk(kid)], words.toBrowser)) return;
    const made = await makeKey();
    await replaced({
      public_key: made.publicKey,
      proof: await statement(made, SUCCESSOR, claims(made.kid)),
      ...await authorized(made.kid),
    });
  }, { class: "primary", disabled: !able });
  const toService = button(words.toService, async () => {
    if (!await confirmed(words.change, [words.toServiceAsk(kid), text.page.inServiceHow], words.toService)) return;
    await replaced({ custody: "service", ...await authorized(IN_CUSTODY) });
  }, { class: "quiet" });
  return card(words.change, element("p", { class: "hint", text: words.changeHow }),
    element("div", { class: "row wrap" }, toBrowser, ...(where === "service" ? [] : [toService])));
}

function loss(onChange) {
  const which = element("select", { id: "loss-kid" }, ...acting.keys.map((key) =>
    element("option", { value: key.kid, text: `${key.kid} (${words.states[key.state]})` })));
  const since = element("input", { id: "loss-since", type: "datetime-local", step: "1" });
  const keep = element("input", { id: "loss-keep", type: "checkbox", "aria-describedby": "loss-keep-how" });
  const report = button(words.lossButton, async () => {
    const lostAt = since.value ? new Date(since.value) : new Date();
    const asked = await confirmed(words.loss, [words.lossAsk(which.value, moment(lostAt)), words.lossHow],
      words.lossButton, { danger: true });
    if (!asked) return;
    const lost = await json(`/v1/parties/${acting.party.id}/keys/${which.value}/loss`, {
      method: "POST",
      body: { keep_successors: keep.checked, ...(since.value && { lost_since: lostAt.toISOString() }) },
    });
    await onChange();
    tell(words.lossDone(lost.items.length));
  }, { class: "danger" });
  return element("details", { class: "card", id: "loss" },
    element("summary", { text: words.loss }),
    element("p", { class: "hint", text: words.lossHow }),
    element("label", { class: "field" }, element("span", { text: words.which }), which),
    element("label", { class: "field" }, element("span", { text: words.lostSince }), since),
    element("label", { class: "tick" }, keep, element("span", { text: words.keepSuccessors })),
    element("p", { class: "hint", id: "loss-keep-how", text: words.keepSuccessorsHow }),
    report);
}

function recovery(able) {
  const shown = element("textarea", { id: "recovery-text", readonly: true, rows: 8, spellcheck: "false", dir: "ltr" });
  const field = element("label", { class: "field", hidden: true }, element("span", { text: words.recoveryText }), shown);
  const make = button(words.recoveryButton, async () => {
    const { id: party, kid } = acting.party;
    const key = await makeKey();
    const proof = await statement(key, SUCCESSOR, { party, old_kid: kid, new_kid: key.kid });
    shown.value = JSON.stringify({ party, lost_kid: kid, public_key: key.publicKey, proof }, null, 2);
    field.hidden = false;
    tell(words.recoveryDone);
  }, { class: "primary", disabled: !able });
  return card(words.recovery, element("p", { text: words.recoveryHow }), make, field);
}

