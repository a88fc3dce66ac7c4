// Ed25519 keys of this browser. The private half cannot leave it: WebCrypto makes it
// non-extractable, and IndexedDB keeps the handle, not the bytes.

import { base64url, canonical, sha256 } from "./canonical.js";

const DATABASE = "reprise-owner-keys";
const STORE = "keys";
const ALGORITHM = "Ed25519";

/** Whether this browser can make a key here: WebCrypto wants https (or localhost) and Ed25519. */
export async function canMakeKeys() {
  if (!globalThis.crypto?.subtle || !globalThis.indexedDB) return false;
  try {
    await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
    return true;
  } catch {
    return false;
  }
}

/** The key's name: its RFC 7638 thumbprint. */
export async function thumbprint({ crv, kty, x }) {
  return base64url(await sha256(canonical({ crv, kty, x })));
}

/** Make a key and keep it: {kid, publicKey, privateKey}. It is kept before anybody hears of it. */
export async function makeKey() {
  const pair = await crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]);
  const { kty, crv, x } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const publicKey = { kty, crv, x };
  const key = { kid: await thumbprint(publicKey), publicKey, privateKey: pair.privateKey };
  await inStore("readwrite", (store) => store.add(key));
  // Asks that the browser does not clear it when the disk runs full; it may say no.
  await navigator.storage?.persist?.();
  return key;
}

/** The key of this name, if this browser has it. */
export async function heldKey(kid) {
  if (!globalThis.indexedDB) return undefined;
  return inStore("readonly", (store) => store.get(kid));
}

/** One member of a JWS' `signatures` (RFC 7515 section 7.2.1) over a payload in base64url. */
export async function signPayload(key, typ, payload, more = {}) {
  const header = base64url(canonical({ alg: ALGORITHM, kid: key.kid, typ, ...more }));
  const signed = new TextEncoder().encode(`${header}.${payload}`);
  return { protected: header, signature: base64url(await crypto.subtle.sign(ALGORITHM, key.privateKey, signed)) };
}

/** A statement about keys, made now: a compact JWS over canonical JSON. */
export async function statement(key, typ, claims) {
  const payload = base64url(canonical({ ...claims, iat: Math.floor(Date.now() / 1000) }));
  const made = await signPayload(key, typ, payload);
  return `${made.protected}.${payload}.${made.signature}`;
}

function inStore(mode, action) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "kid" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction(STORE, mode, { durability: "strict" });
      let asked;
      try {
        asked = action(transaction.objectStore(STORE));
      } catch (error) { // A browser that cannot store a key handle says so here, and aborts nothing.
        database.close();
        return reject(error);
      }
      transaction.oncomplete = () => { database.close(); resolve(asked.result); };
      transaction.onabort = () => { database.close(); reject(transaction.error); };
    };
  });
}
