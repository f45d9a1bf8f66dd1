// The task, the page's address, the geometry of time, and the worker's segments with their history.

const task = JSON.parse(document.getElementById("kloc-task").textContent);
const params = new URLSearchParams(location.search);
const assignmentId = params.get("assignmentId") || "ASSIGNMENT_ID_NOT_AVAILABLE";
const preview = assignmentId === "ASSIGNMENT_ID_NOT_AVAILABLE";
const names = task.classes.map((entry) => entry.name);
const several = names.length > 1;
const training = task.mode === "training";
const $ = (id) => document.getElementById(id);

// Small counters that travel with the answer: how the work was done, nothing about the person.
const counters = {};
function count(what) {
  counters[what] = (counters[what] || 0) + 1;
}

// An address from the page's parameters; anything but http and https is refused.
function address(name) {
  const value = params.get(name);
  if (!value) return null;
  try {
    const url = new URL(value, location.href);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

// Text only ever enters the document as text nodes and attributes, never as markup.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", "#i-" + name);
  svg.append(use);
  return svg;
}

// One sentence, seen over the video and heard by a screen reader.
let toastTimer = 0;
function say(text, kind = "") {
  const toast = $("toast");
  $("live").textContent = text;
  toast.textContent = text;
  toast.className = kind;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, kind === "warn" ? 6000 : 2600);
}

// Asks whoever framed the page for what it remembers under `key`; null where nobody answers.
function recall(type, key) {
  return new Promise((resolve) => {
    addEventListener("message", ({ source, data }) => {
      if (source === window.parent && data && data.type === type && data.key === key) resolve(data.read);
    });
    window.parent.postMessage({ type, key }, "*");
    setTimeout(resolve, 1000, null);
  });
}

// Something that stays true: it is shown above the video for as long as the page is open.
function warn(text) {
  $("alert").textContent = text;
  $("alert").hidden = false;
}

// Time. Frame k is shown during [k, k + 1) frame periods. A start is the beginning of the first frame that shows
// the action, an end is where the last one stops, so a segment covers its last frame and half-open seconds stay exact.
const FRAME = task.frame_period;
const DURATION = task.duration;
const LAST = Math.max(0, Math.ceil(DURATION / FRAME - 0.01) - 1);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const exact = (t) => Math.round(clamp(t, 0, DURATION) * 1e6) / 1e6;
const frameAt = (t) => clamp(Math.floor(t / FRAME + 0.01), 0, LAST);
const startOf = (k) => exact(k * FRAME);
const endOf = (k) => exact((k + 1) * FRAME);
const lastIn = (end) => clamp(Math.ceil(end / FRAME - 0.01) - 1, 0, LAST);
const middle = (k) => Math.min((k + 0.5) * FRAME, (k * FRAME + DURATION) / 2);
const snap = (t) => (t > DURATION - FRAME / 2 ? DURATION : exact(Math.round(t / FRAME) * FRAME));

// [start, end] in order and inside the video, or null where less than one frame remains.
function tidy(start, end) {
  const a = exact(Math.min(start, end));
  const b = exact(Math.max(start, end));
  return b - a < FRAME * 0.99 ? null : [a, b];
}

// 83.4 is "1:23.40".
function clock(t, digits = 2) {
  const unit = 10 ** digits;
  const ticks = Math.round(t * unit);
  const seconds = Math.floor(ticks / unit);
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  if (DURATION >= 3600) parts.unshift(Math.floor(seconds / 3600));
  const text = parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
  return digits ? text + "." + String(ticks % unit).padStart(digits, "0") : text;
}

// "1:23.4", "83.4" and "83,4" are 83.4; anything else is NaN.
function seconds(text) {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || parts.some((part) => !/^\d+(\.\d*)?$|^\.\d+$/.test(part))) return NaN;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

// The worker's work. `pending` is the frame at which a segment was opened that is not closed yet.
const state = {
  segments: [], none: false, selected: null, pending: null, loop: false, gaps: false,
  label: several ? null : names[0], locked: preview,
  // `sending`: handed in, and not stored yet. `over`: there is nothing left to save.
  sending: false, over: preview,
};
const past = [];
const future = [];
let nextId = 1;

const byTime = (a, b) => a.start - b.start || a.end - b.end || a.id - b.id;
const chosen = () => state.segments.find((segment) => segment.id === state.selected) || null;
const snapshot = () => JSON.stringify([state.segments, state.none]);

function restore(text) {
  [state.segments, state.none] = JSON.parse(text);
  if (!chosen()) state.selected = null;
}

// Makes segments of somebody's JSON (a draft, the prefill); what is not one is left out. `from` is the place of the
// model's proposal that a segment grew out of, `ok` that the worker has kept it as it was.
function segmentsFrom(list) {
  const found = [];
  for (const entry of Array.isArray(list) ? list : []) {
    const times = entry && Number.isFinite(entry.start) && Number.isFinite(entry.end) && tidy(entry.start, entry.end);
    if (!times) continue;
    const label = names.includes(entry.label) ? entry.label : several ? null : names[0];
    const from = task.prefill[entry.from] ? entry.from : null;
    found.push({ id: nextId++, label, start: times[0], end: times[1], from, ok: entry.ok === true });
  }
  return found.sort(byTime);
}

const proposals = segmentsFrom(task.prefill.map((entry, from) => ({ ...entry, from })));
const content = ({ label, start, end }) => JSON.stringify([label, start, end]);
function origin(segment) {
  const proposed = proposals.find((other) => other.from === segment.from);
  return !proposed ? "own" : content(proposed) === content(segment) ? "kept" : "corrected";
}
const unchecked = (segment) => !segment.ok && origin(segment) === "kept";
const toCheck = () => state.segments.filter(unchecked);

function readOnly() {
  if (!state.locked) return false;
  say(preview ? "This is a preview. Accept the task to mark segments." : state.over ? "Your answer is sent; nothing can be changed now." : "Your answer is being sent; nothing can be changed now.", "warn");
  return true;
}

function commit(before) {
  if (before === snapshot()) return;
  past.push(before);
  if (past.length > 300) past.shift();
  future.length = 0;
  count("edits");
  changed();
}

// Every change of the work goes through here, so that every change can be undone.
function edit(change) {
  if (readOnly()) return;
  const before = snapshot();
  change();
  state.segments.sort(byTime);
  commit(before);
}

function undo(from = past, to = future, word = "Undone") {
  if (readOnly()) return;
  if (from === past && state.pending !== null) return cancelPending();
  if (!from.length) return say(from === past ? "Nothing to undo" : "Nothing to redo");
  to.push(snapshot());
  restore(from.pop());
  count(from === past ? "undos" : "redos");
  say(word);
  changed();
}
const redo = () => undo(future, past, "Done again");

function cancelPending() {
  state.pending = null;
  say("Open segment dropped");
  changed();
}

function add(start, end) {
  const times = tidy(start, end);
  if (!times) return say("A segment needs at least one frame.", "warn");
  edit(() => {
    const segment = { id: nextId++, label: state.label, start: times[0], end: times[1], from: null, ok: false };
    state.segments.push(segment);
    state.selected = segment.id;
    state.none = false;
  });
  if (!state.label) say("Now choose its class.");
  else say(`Segment ${clock(times[0])} to ${clock(times[1])}`);
}

// Returns false, and says why, where the times make no segment.
function setTimes(segment, start, end) {
  const times = start < end && tidy(start, end);
  if (!times) {
    say(`${start < end ? "A segment needs at least one frame." : "A segment starts before it ends."} It stays as it was.`, "warn");
    return false;
  }
  edit(() => { [segment.start, segment.end] = times; });
  return true;
}

function open(frame) {
  if (readOnly()) return;
  state.pending = frame;
  state.selected = null;
  state.none = false;
  say(`Segment opened at ${clock(startOf(frame))}. Press A or ] where it ends.`);
  changed();
}

function close(frame) {
  if (frame === state.pending) return say("Move on to where the action ends, then close the segment. Esc drops it.", "warn");
  const [first, last] = [Math.min(frame, state.pending), Math.max(frame, state.pending)];
  state.pending = null;
  add(startOf(first), endOf(last));
}

function toggleNone() {
  if (readOnly()) return;
  if (state.pending !== null) state.pending = null;
  if (state.segments.length && !state.none) {
    const n = state.segments.length;
    return say(`You have marked ${n} segment${n > 1 ? "s" : ""}. Delete ${n > 1 ? "them" : "it"} first if the action does not occur.`, "warn");
  }
  edit(() => { state.none = !state.none; });
  say(state.none ? "Noted: the action does not occur." : "Taken back.");
}

function remove(segment) {
  if (!segment) return say("Choose a segment first (N or P).");
  edit(() => {
    state.segments = state.segments.filter((other) => other !== segment);
    if (state.selected === segment.id) state.selected = null;
  });
  if (!state.locked) say("Segment deleted. Ctrl+Z brings it back.");
}

// Keeps the chosen proposal as it is, and goes to the next one.
function keep(segment = chosen()) {
  if (!task.prefill.length) return say("There is no proposal to keep.");
  if (readOnly()) return;
  if (segment && unchecked(segment)) edit(() => { segment.ok = true; });
  const left = toCheck();
  select(left.find((other) => !segment || byTime(other, segment) > 0) || left[0]);
  say(left.length ? `${left.length} proposal${left.length > 1 ? "s" : ""} left to check` : "Every proposal is checked. Now look for what it missed (G).");
}

function chooseClass(index) {
  if (!several || index >= names.length) return;
  const segment = chosen();
  if (segment && segment.label !== names[index]) edit(() => { segment.label = names[index]; });
  state.label = names[index];
  say(names[index]);
  changed();
}

// A calm hue for each class; neighbours differ.
const hue = (label) => (label === null ? null : (185 + names.indexOf(label) * 137.5) % 360);
function paint(node, label) {
  node.classList.toggle("unnamed", label === null);
  if (label !== null) node.style.setProperty("--h", hue(label));
}
