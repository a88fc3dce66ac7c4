// What @trustnxt/c2pa-ts makes of one file: JSON on standard output.
import { readFile } from "node:fs/promises";
import { webcrypto } from "node:crypto";

// Node 18 has it, and not as a global.
globalThis.crypto ??= webcrypto;
const { BMFF, MP3 } = await import("@trustnxt/c2pa-ts/asset");
const { SuperBox } = await import("@trustnxt/c2pa-ts/jumbf");
const { ManifestStore } = await import("@trustnxt/c2pa-ts/manifest");

// It knows the store's older media type; the specification (2.4, A.3.3) and the SDK say this one.
const MEDIA_TYPE = new TextEncoder().encode("application/c2pa\0");

class TaggedMP3 extends MP3 {
  checkManifestFrame(index) {
    const content = this.frames[index].dataOffset + 1;
    if (MEDIA_TYPE.every((byte, at) => this.data[content + at] === byte)) {
      this.manifestFrameIndex = index;
    } else {
      super.checkManifestFrame(index);
    }
  }
}

// It reads the container of M4A, and lists the brands of still pictures alone.
BMFF.canReadBrands.add("M4A ");

const bytes = await readFile(process.argv[2]);
const asset = MP3.canRead(bytes) ? new TaggedMP3(bytes) : new BMFF(bytes);
const manifests = ManifestStore.read(SuperBox.fromBuffer(asset.getManifestJUMBF()));
const result = await manifests.validate(asset);
const active = manifests.getActiveManifest();
console.log(JSON.stringify({
  valid: result.isValid,
  failures: result.statusEntries.filter(({ success }) => !success).map(({ code }) => code),
  successes: result.statusEntries.filter(({ success }) => success).map(({ code }) => code),
  active: active.label,
  assertions: active.assertions.assertions.map(({ label }) => label),
  manifests: manifests.manifests.length,
}));
