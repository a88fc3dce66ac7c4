// The operators' page: what only an operator decides, each with its reason.

import { Problem } from "./api.js";
import { $ } from "./elements.js";
import { prepareDecisions } from "./operator-record.js";
import { showDisputes, showProposals } from "./operator-decide.js";
import { showRecovery } from "./operator-keys.js";
import { showQuarantine } from "./operator-quarantine.js";
import { showOrders } from "./operator-remixes.js";
import { text } from "./operator-text.js";
import { isOperator, subject } from "./owner-session.js";
import { pageShell } from "./page-shell.js";

const { begin, reload } = pageShell({
  token: "reprise.operator-token",
  text,
  forget: () => {},
  recognise: async () => {
    // The service refuses everybody else anyhow; this says so before anything is asked.
    if (!isOperator()) throw new Problem(403, { title: text.page.title, detail: text.notOperator });
    $("acting").textContent = text.acting(subject());
    return true;
  },
  views: {
    decide: async () => {
      await showDisputes(reload);
      await showProposals(reload);
    },
    keys: showRecovery,
    remixes: showOrders,
    quarantine: () => showQuarantine(reload),
    record: prepareDecisions,
  },
});

begin();
