// A job's stages as they happen, from its events.

import { events, request } from "./api.js";
import { $, element } from "./elements.js";

const STAGES = [
  ["separate", "Separate", "Taking the song apart into stems"],
  ["regenerate", "Regenerate", "Playing the new part to the other stems"],
  ["mix", "Mix", "Mixing it in"],
  ["stamp", "Sign", "Writing and signing the credential"],
  ["publish", "Publish", "Checking consent once more and publishing"],
];
const ENDS = {
  refused: "Refused",
  failed: "Failed",
  revoked: "The artist has taken consent back",
  cancelled: "Cancelled",
};

function draw(stage, state) {
  const now = STAGES.findIndex(([name]) => name === stage);
  $("stages").replaceChildren(...STAGES.map(([, label], index) => {
    const done = state === "published" || index < now;
    const is = done ? "done" : index > now ? "waiting" : state in ENDS ? "broken" : "now";
    return element("li", { "data-state": is, "aria-current": is === "now" ? "step" : false, text: label });
  }));
}

function say(text) {
  // Only a change is announced: screen readers need not hear every per cent.
  if ($("job-status").textContent !== text) $("job-status").textContent = text;
}

/**
 * Follow a job to its end and show it; resolves with the final event
 * ({type, data}), or null when `signal` aborted first. `onExcerpt` is told of each excerpt.
 */
export async function follow(jobId, signal, onExcerpt) {
  $("job").hidden = false;
  $("cancel").hidden = false;
  $("job-progress").value = 0;
  $("cancel").onclick = async () => {
    $("cancel").disabled = true;
    await request(`/v1/remixes/${jobId}`, { method: "DELETE" }).catch((problem) => say(problem.message));
  };
  $("cancel").disabled = false;
  draw(STAGES[0][0], "queued");
  say("Waiting for a worker");
  const cached = new Set();
  for await (const { type, data } of events(`/v1/remixes/${jobId}/events`, signal)) {
    if (type === "stage" && data.cached) cached.add(data.stage);
    if (type === "excerpt") onExcerpt(data);
    $("job-progress").value = data.progress ?? 0;
    draw(data.stage, type in ENDS ? type : data.state);
    if (type in ENDS) {
      say(`${ENDS[type]}${data.detail ? `: ${data.detail}` : ""}`);
      $("cancel").hidden = true;
      return { type, data };
    }
    if (type === "published") {
      $("job").hidden = true;
      return { type, data };
    }
    if (type === "cancelling") say("Stopping …");
    else if (type === "retry") say(`Trying once more (attempt ${data.attempt} of ${data.max_attempts})`);
    else if (data.state === "queued") say("Waiting for a worker");
    else {
      const [, , text] = STAGES.find(([name]) => name === data.stage) ?? STAGES[0];
      say(cached.has("separate") && data.stage === "regenerate" ? `${text} (its stems were known already)` : text);
    }
  }
  return null;
}

/** Put the progress away. */
export function clear() {
  $("job").hidden = true;
}
