// What is said of an answer, a worker, a segment.

import { clock, percent } from "./base.js";

export const SOURCES = { review: "your review", crowd: "the crowd", import: "imported" };
export const SIGNS = {
  hasty: "answered in a haste",
  "whole-video": "marks the whole video",
  unwatched: "did not watch it",
};
// The chips beside a video, without their numbers.
export const CHIPS = {
  "not saved": "You changed this video and have not saved it.",
  reviewed: "You reviewed it; your version counts.",
  reported: "Workers reported a problem with it.",
  unreadable: "Answers that cannot be read; they count for nothing.",
  provisional: "The answers leave something in doubt; one more would help.",
  "low agreement": "Its workers hardly agree: pairs of them match in less than half.",
  "with signs": "Answers that look careless: hasty, with little watched, or the whole video marked.",
};
export const KINDS = {
  "in an answer": "in an answer", "does-not-play": "does not play", disturbing: "disturbing", "wrong-class": "wrong class", other: "something else",
};

export function qualityWords(a) {
  const q = a.quality;
  const gold = a.gold ? ` On gold: F1 ${percent(a.gold.f1)} over ${a.gold.answers}.` : "";
  if (!q) return `Nothing is known yet about this worker's reliability.${gold}`;
  return `Finds ${percent(q.sensitivity)} of what is there, falls for ${percent(q.false_alarm)} of what is not, `
    + `edges off by ${q.scale.toFixed(2)} of the usual tolerance; ${q.answers} answer${q.answers === 1 ? "" : "s"}.${gold}`;
}

export function answerWords(a) {
  const what = a.problem ? `${a.report ? "a report" : "cannot be read"}: ${a.problem}`
    : a.none ? "does not occur"
      : a.segments.map((s) => `${s.label} ${clock(s.start)} to ${clock(s.end)}`).join(", ");
  const signs = a.signs.map((s) => SIGNS[s] || s);
  return [`Worker ${a.worker}`, what, ...signs, a.status.toLowerCase()].join("; ");
}
