// Choices, times, sizes and rates, as people say them.

/** Minutes and seconds: 1:08. */
export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A moment to the millisecond, as short as it can be: 1:08, 1:08.25. */
function moment(seconds) {
  const [, fraction] = String(Math.round((seconds % 1) * 1000) / 1000).split(".");
  return fraction ? `${clock(seconds)}.${fraction}` : clock(seconds);
}

/** Spans of a song: 0:08–0:16 and 0:24–0:30. */
export function spans(redo) {
  return redo.map(({ start, end }) => `${moment(start)}–${moment(end)}`).join(" and ");
}

/** What binds the new part besides its style, as a list; what the song decides is left out. */
export function bindings({ density, fills, swing, redo }) {
  return [
    ...(density ? [density] : []),
    ...(fills != null ? [fills ? "with fills" : "without fills"] : []),
    ...(swing != null ? [swing ? "swung" : "straight"] : []),
    ...(redo ? [`only ${spans(redo)}`] : []),
  ];
}

/** The size of a file: 820 kB, 3.4 MB. */
export function bytes(count) {
  const kilo = count / 1000;
  return kilo < 1000 ? `${Math.ceil(kilo)}\u00a0kB` : `${Math.ceil(kilo / 100) / 10}\u00a0MB`;
}

/** How often something is found, never rounded up: 97 of 100. */
export function often(rate) {
  return `${Math.floor(rate * 1000 + 1e-6) / 10} of 100`;
}

const ROUND = new Map([[1e3, "a thousand"], [1e6, "a million"], [1e9, "a billion"]]);

/** How seldom something may go wrong: at most one in a million. */
export function atMost(rate) {
  if (rate >= 0.1) return `at most ${Math.ceil(rate * 100)} of 100`;
  const one = Math.floor(1 / rate + 1e-6);
  return `at most one in ${ROUND.get(one) ?? one.toLocaleString("en")}`;
}
