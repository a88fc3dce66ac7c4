// The API as the page needs it: bearer token, problems as errors, events over fetch.

const RECONNECT_MS = 1000;
const SILENT = { title: "The service does not answer", detail: "It may have been stopped; try again when it runs." };
const FINAL = new Set(["published", "refused", "failed", "revoked", "cancelled"]);

/** A refusal (RFC 9457), with its own words. */
export class Problem extends Error {
  constructor(status, document, retryAfter = null) {
    super(document.detail ?? document.title ?? `status ${status}`);
    this.status = status;
    this.title = document.title ?? "Something went wrong";
    this.type = document.type ?? "about:blank";
    this.retryAfter = Number(retryAfter) || null; // Seconds; the service never sends a date.
    this.limit = document.limit; // The limit that was met, and who can change it.
    this.changedBy = document.changed_by;
    this.errors = document.errors ?? []; // Where a request does not fit: {pointer, detail} each.
  }
}

/** The bearer token, kept for this tab only; a listener's and an owner's have names of their own. */
export const session = {
  name: "reprise.token",
  get token() { return sessionStorage.getItem(this.name); },
  set token(value) { value ? sessionStorage.setItem(this.name, value) : sessionStorage.removeItem(this.name); },
};

/** One request; resolves with the Response, rejects with a Problem. */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = new Headers(headers);
  if (session.token) sent.set("Authorization", `Bearer ${session.token}`);
  const plain = body !== undefined && !(body instanceof Blob);
  if (plain) sent.set("Content-Type", "application/json");
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body: plain ? JSON.stringify(body) : body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, SILENT);
  }
  if (response.ok) return response;
  throw new Problem(response.status, await response.json().catch(() => ({})), response.headers.get("Retry-After"));
}

/** The JSON of one request. */
export async function json(path, options) {
  return (await request(path, options)).json();
}

/** Send a file with PUT and say how far it is (0 to 1): fetch does not tell. Its JSON, or a Problem. */
export function upload(path, file, onProgress, signal) {
  // RFC 6266 and 8187: a name in any script, and nothing in it that could end the header.
  const name = encodeURIComponent(file.name).replaceAll(/['()*]/g, (one) => `%${one.charCodeAt(0).toString(16)}`);
  const headers = { "Content-Disposition": `attachment; filename*=UTF-8''${name}` };
  if (session.token) headers.Authorization = `Bearer ${session.token}`;
  return send("PUT", path, headers, file, onProgress, signal);
}

/** Send nothing but a file's bytes with POST: neither its name nor who sends it. Otherwise as `upload`. */
export function uploadUnnamed(path, file, onProgress, signal) {
  return send("POST", path, { "Content-Type": "application/octet-stream" }, file, onProgress, signal);
}

function send(method, path, headers, file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    sent.open(method, path);
    sent.responseType = "json";
    for (const [name, value] of Object.entries(headers)) sent.setRequestHeader(name, value);
    sent.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    sent.onload = () => {
      if (sent.status < 300) resolve(sent.response);
      else reject(new Problem(sent.status, sent.response ?? {}, sent.getResponseHeader("Retry-After")));
    };
    sent.onerror = () => reject(new Problem(0, SILENT));
    sent.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => sent.abort(), { once: true });
    sent.send(file);
  });
}

/** A fresh Idempotency-Key (randomUUID needs a secure context, which a phone on the LAN lacks). */
export function idempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * The events of a job, {type, id, data}, until its final one.
 * A broken connection resumes after the last event seen (Last-Event-ID).
 */
export async function* events(path, signal) {
  let last = "";
  while (!signal.aborted) {
    try {
      const response = await request(path, {
        headers: { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) },
        signal,
      });
      for await (const event of parse(response.body)) {
        if (event.id) last = event.id;
        yield event;
        if (FINAL.has(event.type)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status >= 400 && error.status < 500) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const fields = { event: "message", id: "", data: [] };
      for (const line of text.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue; // A comment: the heartbeat.
        const content = line.slice(colon + 1).replace(/^ /, "");
        const name = line.slice(0, colon);
        if (name === "data") fields.data.push(content);
        else fields[name] = content;
      }
      if (fields.data.length) yield { type: fields.event, id: fields.id, data: JSON.parse(fields.data.join("\n")) };
    }
  }
}
