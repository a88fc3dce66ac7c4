// How a file comes onto the page: dropped anywhere on it, or chosen.

const dropped = (event) => Array.from(event.dataTransfer?.types ?? []).includes("Files");

/**
 * Give every file to `take`, one at a time, and words for what is no file to `refuse`.
 * `zone` shows by data-over that a file is held over the page; `input` is the choice by hand.
 */
export function takeFiles({ zone, input, take, refuse }) {
  let over = 0; // Entering a child comes before leaving its parent.
  const held = (change) => {
    over = Math.max(0, over + change);
    zone.toggleAttribute("data-over", over > 0);
  };
  addEventListener("dragenter", (event) => { if (dropped(event)) held(1); });
  addEventListener("dragleave", (event) => { if (dropped(event)) held(-1); });
  addEventListener("dragover", (event) => {
    event.preventDefault(); // Without it the browser leaves the page to show what is dropped.
    event.dataTransfer.dropEffect = dropped(event) ? "copy" : "none";
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    held(-over);
    const [item, ...others] = Array.from(event.dataTransfer?.items ?? []).filter(({ kind }) => kind === "file");
    const file = item?.getAsFile();
    if (!file) return refuse("That is no file. Drop an audio file, or choose one.");
    if (others.length) return refuse("Those are several files. Drop one at a time.");
    if (item.webkitGetAsEntry?.()?.isDirectory) return refuse("That is a folder. Drop one file out of it.");
    return take(file);
  });
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (!file) return;
    take(file);
    input.value = ""; // The same file may be chosen again.
  });
  input.disabled = false; // What was chosen before somebody listened would have been lost.
}
