// One zoomable timeline: a ruler, the requester's own lane with handles, and below it everybody else's.

import { $, clamp, clock, el, paint, percent, say } from "./base.js";
import * as work from "./edit.js";
import { edge, now, onMove, seek, seekFrameAt, seekFrameBefore } from "./player.js";
import { answerWords, qualityWords } from "./words.js";

const { state } = work;
const view = { start: 0, span: 1 };
const place = (value) => `${(value * 100).toFixed(4)}%`;
const inView = (t) => (t - view.start) / view.span;
const length = () => state.item.end - state.item.start;
const shortest = () => Math.min(length(), state.item.frame_period * 20);

export function setView(start, span) {
  view.span = clamp(span, shortest(), length());
  view.start = clamp(start, state.item.start, state.item.end - view.span);
  draw();
}
// Zooms by a factor and keeps the time `at` where it is on the screen.
export function zoom(factor, at = now()) {
  if (at < view.start || at > view.start + view.span) at = view.start + view.span / 2;
  const span = clamp(view.span * factor, shortest(), length());
  setView(at - inView(at) * span, span);
}
export const fit = () => setView(state.item.start, length());
function reveal(t) {
  if (t < view.start || t > view.start + view.span) setView(t - view.span * 0.1, view.span);
}

function drawRuler() {
  const width = $("ruler").clientWidth || 800;
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const big = steps.find((value) => (value / view.span) * width >= 72) || 7200;
  const ticks = [];
  for (let i = Math.ceil(view.start / big - 1e-6); i * big <= view.start + view.span + 1e-6; i++) {
    const tick = el("span", { class: "tick" }, clock(i * big, big < 1 ? 1 : 0));
    tick.style.left = place(inView(i * big));
    ticks.push(tick);
  }
  $("ruler").replaceChildren(...ticks, el("i", { class: "head" }));
  for (const [name, t] of [["aria-valuemin", state.item.start], ["aria-valuemax", state.item.end]]) {
    $("ruler").setAttribute(name, t.toFixed(2));
  }
}

function set(node, start, end) {
  node.style.left = place(inView(start));
  node.style.width = place((end - start) / view.span);
}

function bar(segment, text, ...kinds) {
  const node = el("div", { class: ["bar", ...kinds].join(" "), title: `${segment.label}, ${clock(segment.start)} to ${clock(segment.end)}` },
    el("span", {}, text));
  paint(node, segment.label);
  set(node, segment.start, segment.end);
  return node;
}

// How far the answers lie apart at an edge.
function whiskers(instance) {
  return [["start", instance.start_spread], ["end", instance.end_spread]].map(([name, spread]) => {
    const node = el("i", { class: "whisker", title: `${name} ± ${spread.toFixed(2)} s` });
    paint(node, instance.label);
    set(node, instance[name] - spread, instance[name] + spread);
    return node;
  });
}

function mine() {
  return state.segments.map((segment, i) => {
    const handle = (name) => el("i", {
      class: "handle", "data-edge": name, role: "slider", tabindex: segment.id === state.selected ? "0" : "-1",
      "aria-label": `${name === "start" ? "Start" : "End"} of segment ${i + 1}`, "aria-valuemin": state.item.start.toFixed(2),
      "aria-valuemax": state.item.end.toFixed(2), "aria-valuenow": segment[name].toFixed(2), "aria-valuetext": clock(segment[name]),
    });
    const node = bar(segment, `${i + 1} ${segment.label}`, "own", segment.id === state.selected ? "on" : "");
    node.dataset.id = segment.id;
    node.prepend(handle("start"));
    node.append(handle("end"));
    return node;
  });
}

function crowd() {
  const { instances, rejected } = state.item.consensus;
  return [
    ...instances.flatMap((i) => [bar(i, percent(i.confidence), i.confidence < 0.8 ? "unsure" : ""), ...whiskers(i)]),
    ...rejected.map((i) => bar(i, percent(i.confidence), "turned-down")),
  ];
}

function answer(a) {
  if (a.problem) return [el("span", { class: "problem" }, a.problem)];
  const seen = a.watched.map(([start, end]) => {
    const node = el("i", { class: "seen" });
    set(node, start, end);
    return node;
  });
  if (a.none) return [...seen, el("span", { class: "nothing" }, "does not occur")];
  return [...seen, ...a.segments.map((s) => bar(s, s.label, s.origin === "kept" ? "kept" : ""))];
}

function lanes() {
  const { item } = state;
  const list = [["mine", state.none ? "Does not occur" : "Yours", mine()]];
  if (item.source !== null && work.dirty()) {
    list.push(["saved", `Saved (${item.source})`, item.segments.map((s) => bar(s, s.label))]);
  }
  if (item.consensus) list.push(["crowd", item.consensus.provisional ? "Crowd, provisional" : "Crowd", crowd()]);
  if (item.prefill.length) list.push(["prefill", "Proposed to workers", item.prefill.map((s) => bar(s, s.label))]);
  for (const [key, name] of [["gold", "Gold"], ["imported", "Imported"]]) {
    if (item[key]) list.push([key, name, item[key].map((s) => bar(s, s.label))]);
  }
  return list;
}

const lane = (kind, name, marks, more = {}) => el("div", { class: `lane ${kind}`, ...more }, name, el("div", { class: "track" }, ...marks));

export function draw() {
  if (!state.item || drag) return;
  drawRuler();
  const focus = document.activeElement?.dataset?.lane;
  const focusEdge = document.activeElement?.closest?.("#lanes .bar") ? document.activeElement.dataset.edge : null;
  $("lanes").replaceChildren(
    ...lanes().map(([kind, name, marks]) => lane(kind, el("span", { class: "lane-name" }, name), marks)),
    ...state.item.answers.map((a) => lane(
      ["answer", a.status === "Rejected" ? "rejected" : "", a.id === state.answer ? "on" : ""].join(" "),
      el("button", { class: "lane-name", "data-lane": a.id, "aria-pressed": String(a.id === state.answer), "aria-label": answerWords(a), title: qualityWords(a) },
        el("b", {}, a.worker), el("small", {}, shortWords(a))),
      answer(a), { "data-answer": a.id },
    )),
    el("i", { class: "head" }),
  );
  if (focus) $("lanes").querySelector(`[data-lane="${CSS.escape(focus)}"]`)?.focus();
  if (focusEdge) $("lanes").querySelector(`.on [data-edge=${focusEdge}]`)?.focus();
  drawHead();
}

function shortWords(a) {
  if (a.report) return "report";
  if (a.problem) return "unreadable";
  return [a.purpose === "gold" ? "gold" : "", ...a.signs].filter(Boolean).join(", ") || (a.quality ? percent(a.quality.sensitivity) : "");
}

function drawHead() {
  if (!state.item) return;
  const x = inView(now());
  for (const head of document.querySelectorAll(".head")) {
    head.hidden = x < 0 || x > 1;
    head.style.setProperty("--x", x);
  }
  $("ruler").setAttribute("aria-valuenow", now().toFixed(2));
  $("ruler").setAttribute("aria-valuetext", clock(now()));
}
onMove(() => {
  if (!state.item) return;
  if (!drag) reveal(now());
  drawHead();
});

// Pointers. A click seeks or chooses; a drag on empty space of the own lane draws, on a bar moves, on a handle one edge.
let drag = null;
function timeAt(event, node) {
  const box = node.getBoundingClientRect();
  return view.start + clamp((event.clientX - box.left) / box.width, 0, 1) * view.span;
}

$("lanes").addEventListener("pointerdown", (event) => {
  const track = event.target.closest(".track");
  if (event.button || !track || drag) return;
  const row = track.parentElement;
  if (!row.classList.contains("mine")) {
    if (row.dataset.answer) state.answer = row.dataset.answer;
    work.changed();
    seek(timeAt(event, $("ruler")));
    return;
  }
  const node = event.target.closest(".bar");
  const segment = node && state.segments.find((s) => s.id === Number(node.dataset.id));
  const kind = event.target.dataset.edge || (segment ? "move" : "draw");
  state.selected = segment ? segment.id : null;
  work.changed();
  drag = { kind, segment, t: timeAt(event, $("ruler")), x: event.clientX, moved: false, before: work.mark(), base: segment && { ...segment } };
  $("lanes").setPointerCapture(event.pointerId);
  event.preventDefault();
});

$("lanes").addEventListener("pointermove", (event) => {
  if (!drag || (!drag.moved && Math.abs(event.clientX - drag.x) < 4)) return;
  drag.moved = true;
  const t = timeAt(event, $("ruler"));
  const { kind, segment, base } = drag;
  const track = document.querySelector(".mine .track");
  if (kind === "draw") {
    const ghost = track.querySelector(".ghost") || track.appendChild(el("div", { class: "ghost" }));
    drag.times = [edge(drag.t), edge(t)].sort((a, b) => a - b);
    set(ghost, ...drag.times);
    return seekFrameAt(t);
  }
  const shift = t - drag.t;
  if (kind === "move") {
    const size = base.end - base.start;
    segment.start = clamp(edge(base.start + shift), state.item.start, state.item.end - size);
    segment.end = segment.start + size;
  } else {
    const anchor = kind === "start" ? base.end : base.start;
    const other = clamp(edge(base[kind] + shift), state.item.start, state.item.end);
    [segment.start, segment.end] = [anchor, other].sort((a, b) => a - b);
  }
  if (kind === "end") seekFrameBefore(segment.end);
  else seekFrameAt(segment.start);
  const node = track.querySelector(`[data-id="${segment.id}"]`);
  if (node) set(node, segment.start, segment.end);
});

function endDrag(keep) {
  if (!drag) return;
  const { kind, segment, moved, before, base, times, t } = drag;
  drag = null;
  if (!moved) {
    seek(t);
    return work.changed();
  }
  if (kind === "draw") {
    if (keep && times) work.add(work.newLabel(), ...times);
  } else if (keep && work.tidy(segment.start, segment.end)) {
    work.commit(before);
  } else {
    Object.assign(segment, base);
    if (keep) say("A segment needs at least one frame. It stays as it was.", true);
  }
  work.changed();
}
$("lanes").addEventListener("pointerup", () => endDrag(true));
$("lanes").addEventListener("pointercancel", () => endDrag(false));

// Arrows on a focused handle move that edge by one frame, with Shift by one second.
$("lanes").addEventListener("keydown", (event) => {
  const name = event.target.dataset.edge;
  const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const segment = work.chosen();
  if (!name || !direction || !segment) return;
  event.preventDefault();
  event.stopPropagation();
  const t = segment[name] + direction * (event.shiftKey ? 1 : work.frame());
  if (!work.setTimes(segment, name === "start" ? t : segment.start, name === "end" ? t : segment.end)) return;
  if (name === "start") seekFrameAt(segment.start);
  else seekFrameBefore(segment.end);
});
$("lanes").addEventListener("click", (event) => {
  const button = event.target.closest("button.lane-name");
  if (!button) return;
  state.answer = button.dataset.lane;
  work.changed();
});

let held = false;
$("ruler").addEventListener("pointerdown", (event) => {
  held = true;
  $("ruler").setPointerCapture(event.pointerId);
  seek(timeAt(event, $("ruler")));
});
$("ruler").addEventListener("pointermove", (event) => { if (held) seek(timeAt(event, $("ruler"))); });
for (const name of ["pointerup", "pointercancel"]) $("ruler").addEventListener(name, () => { held = false; });

$("timeline").addEventListener("wheel", (event) => {
  if (!state.item || !(event.ctrlKey || event.shiftKey || event.deltaX || event.target.closest("#ruler, .mine"))) return;
  event.preventDefault();
  const width = $("ruler").clientWidth;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    setView(view.start + ((event.deltaX || event.deltaY) * view.span) / width, view.span);
  } else zoom(Math.exp(clamp(event.deltaY, -200, 200) / 400), timeAt(event, $("ruler")));
}, { passive: false });
new ResizeObserver(draw).observe($("ruler"));
