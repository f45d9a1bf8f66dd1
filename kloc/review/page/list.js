// The list of videos, the most doubtful first. Its order changes only when asked to.

import { $, ask, el, percent } from "./base.js";
import { state, unsaved } from "./edit.js";
import { CHIPS } from "./words.js";

const SHOWN = 300;
let items = [];
let wanted = () => {};
export const onOpen = (open) => { wanted = open; };
export const itemOf = (key) => items.find((item) => item.key === key);

const FILTERS = {
  all: () => true,
  doubtful: (i) => i.doubts.length > 0 && i.source !== "review",
  unreadable: (i) => i.doubts.some((d) => d.endsWith("unreadable")),
  reported: (i) => i.doubts.some((d) => d.endsWith("reported")),
  open: (i) => i.source !== "review",
  review: (i) => i.source === "review",
  unsaved: (i) => unsaved(i.key),
};

export function filtered() {
  const text = $("find").value.trim().toLowerCase();
  const fits = FILTERS[$("filter").value];
  return items.filter((i) => fits(i) && (!text || i.video_id.toLowerCase().includes(text)));
}

// Fetches the list; keeps the order on the screen unless `sort`, new videos come last.
export async function refresh(sort = false) {
  const said = await ask("items");
  if (sort || !items.length) items = said.items;
  else {
    const fresh = new Map(said.items.map((i) => [i.key, i]));
    const known = items.filter((i) => fresh.has(i.key)).map((i) => fresh.get(i.key));
    items = [...known, ...said.items.filter((i) => !itemOf(i.key))];
  }
  drawList();
  return said;
}

const chip = (text, kind = "") => el("span", { class: `chip ${kind}`.trim(), title: CHIPS[text.replace(/^\d+ /, "")] }, text);

function line(item) {
  const on = state.item !== null && state.item.key === item.key;
  const chips = [
    ...(unsaved(item.key) ? [chip("not saved", "warn")] : []),
    ...(item.source === "review" ? [chip("reviewed", "good")] : []),
    ...item.doubts.map((doubt) => chip(doubt)),
  ];
  const facts = [
    `${item.answers} answer${item.answers === 1 ? "" : "s"}`,
    item.agreement === null ? null : `agree ${percent(item.agreement)}`,
    item.rounds.length ? `round ${item.rounds.join(", ")}` : null,
  ].filter(Boolean).join(" · ");
  return el("li", {}, el("button", { class: "video", "aria-current": on ? "true" : false, onclick: () => wanted(item.key) },
    el("span", { class: "name" }, item.video_id), el("small", {}, facts),
    chips.length > 0 && el("span", { class: "chips" }, ...chips)));
}

export function drawList() {
  const found = filtered();
  const at = state.item ? found.findIndex((i) => i.key === state.item.key) : -1;
  const from = Math.max(0, Math.min(at - SHOWN / 2, found.length - SHOWN));
  const shown = found.slice(from, from + SHOWN);
  const focused = document.activeElement?.classList.contains("video");
  $("list").replaceChildren(...shown.map(line));
  const doubtful = items.filter(FILTERS.doubtful).length;
  const text = `${found.length} of ${items.length} videos, ${doubtful} doubtful`
    + (found.length > SHOWN ? `; ${SHOWN} of them here, narrow the filter for others` : "");
  if ($("count").textContent !== text) $("count").textContent = text;
  const current = $("list").querySelector("[aria-current]");
  if (current) {
    current.scrollIntoView({ block: "nearest" });
    if (focused) current.focus();
  }
}

// The neighbour of the video `key` in the filtered list.
export function neighbour(direction, key) {
  const found = filtered();
  if (!found.length) return null;
  const at = found.findIndex((i) => i.key === key);
  if (at < 0) return found[0].key;
  const next = found[at + direction];
  return next ? next.key : null;
}

for (const [id, event] of [["find", "input"], ["filter", "change"]]) $(id).addEventListener(event, drawList);
