// The owners' page: who acts here, and the parts of the page one sees one at a time.

import { $ } from "./elements.js";
import { showGrants } from "./owner-grants.js";
import { prepareRegistration, showKeys } from "./owner-keys.js";
import { showMandates } from "./owner-mandates.js";
import { prepareRecord, showRecord } from "./owner-record.js";
import { acting, forgetActing, recognise } from "./owner-session.js";
import { prepareStatements, showStatement } from "./owner-statements.js";
import { text } from "./owner-text.js";
import { showTodo } from "./owner-todo.js";
import { showTracks } from "./owner-tracks.js";
import { pageShell } from "./page-shell.js";

/** Who acts here; without a party there is only registering. */
async function registered() {
  const found = await recognise();
  $("registration").hidden = found;
  $("parts").hidden = !found;
  if (found) $("acting").textContent = text.actingFor(acting.party.name);
  else await prepareRegistration(reload);
  return found;
}

const { begin, reload } = pageShell({
  token: "reprise.owner-token", // A listener's token in the same tab is another one.
  text,
  recognise: registered,
  forget: forgetActing,
  views: {
    todo: async () => {
      await showTodo(reload);
      await showMandates(reload);
    },
    tracks: (track) => showTracks(track, reload),
    grants: () => showGrants(reload),
    statements: showStatement,
    record: showRecord,
    keys: () => showKeys(reload),
  },
});

$("kind").replaceChildren(...Object.entries(text.kinds).map(([value, words]) => new Option(words, value)));
prepareStatements();
prepareRecord();
begin();
