// The requester's own version of the video on the screen, with its history. Every change can be undone.

import { classes, say } from "./base.js";

export const state = { item: null, segments: [], none: false, selected: null, answer: null, loop: false };
const listeners = [];
// What was left unsaved, by item: going to another video loses nothing.
const left = new Map();
let past = [];
let future = [];
let saved = "";
let nextId = 1;

export const onChange = (listener) => listeners.push(listener);
export const changed = () => listeners.forEach((listener) => listener());
export const chosen = () => state.segments.find((segment) => segment.id === state.selected) || null;
export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;
export const dirty = () => state.item !== null && snapshot() !== saved;
export const unsaved = (key) => (state.item && state.item.key === key ? dirty() : left.has(key));
export const anythingUnsaved = () => dirty() || left.size > 0;

const byTime = (a, b) => a.start - b.start || a.end - b.end || a.id - b.id;
const bare = ({ label, start, end }) => ({ label, start, end });
export const toSave = () => state.segments.map(bare);
const snapshot = () => JSON.stringify([toSave(), state.none]);

// What the server says that counts; before anything does, what the crowd's answers come to so far.
export function stored(item) {
  if (item.source !== null) return [item.segments.map(bare), item.segments.length === 0];
  if (item.consensus) return [item.consensus.instances.map(bare), item.consensus.instances.length === 0];
  return [[], false];
}

function put([segments, none]) {
  const before = chosen();
  state.segments = segments.map((segment) => ({ ...segment, id: nextId++ })).sort(byTime);
  state.none = none;
  const again = before && state.segments.find((s) => s.start === before.start && s.end === before.end && s.label === before.label);
  state.selected = again ? again.id : null;
}

// Shows an item. What is not saved stays, or comes back; only `afresh` lets go of it. Returns whether it was made
// from a revision that is not the newest any more.
export function show(item, afresh = false) {
  const same = state.item !== null && state.item.key === item.key;
  if (dirty()) left.set(state.item.key, { work: snapshot(), past, future, base: state.item.revision });
  const mine = afresh ? undefined : left.get(item.key);
  left.delete(item.key);
  state.item = item;
  if (!same) Object.assign(state, { selected: null, answer: null, loop: false });
  put(stored(item));
  saved = snapshot();
  past = mine ? mine.past : [];
  future = mine ? mine.future : [];
  if (mine) put(JSON.parse(mine.work));
  changed();
  return Boolean(mine) && mine.base !== item.revision;
}

// What was sent has been saved although its video has left the screen.
export function sentOff(key, sent) {
  if (left.get(key)?.work === sent) left.delete(key);
}

// Every change goes through here.
export function edit(change) {
  const before = snapshot();
  change();
  state.segments.sort(byTime);
  commit(before);
}

export function commit(before) {
  if (before === snapshot()) return changed();
  past.push(before);
  if (past.length > 300) past.shift();
  future = [];
  changed();
}
export const mark = snapshot;

function travel(from, to, words) {
  if (!from.length) return say(words[1]);
  to.push(snapshot());
  put(JSON.parse(from.pop()));
  say(words[0]);
  changed();
}
export const undo = () => travel(past, future, ["Undone", "Nothing to undo"]);
export const redo = () => travel(future, past, ["Done again", "Nothing to redo"]);

export const frame = () => state.item.frame_period;
// [start, end] in order and inside the video, or null where less than one frame remains.
export function tidy(start, end) {
  const [low, high] = [Math.max(Math.min(start, end), state.item.start), Math.min(Math.max(start, end), state.item.end)];
  return high - low < frame() * 0.99 ? null : [low, high];
}

export function add(label, start, end) {
  const times = tidy(start, end);
  if (!times) return say("A segment needs at least one frame.", true);
  edit(() => {
    const segment = { id: nextId++, label, start: times[0], end: times[1] };
    state.segments.push(segment);
    state.selected = segment.id;
    state.none = false;
  });
}

// Returns false, and says why, where the times make no segment.
export function setTimes(segment, start, end) {
  const times = start < end && tidy(start, end);
  if (!times) {
    say(`${start < end ? "A segment needs at least one frame." : "A segment starts before it ends."} It stays as it was.`, true);
    return false;
  }
  edit(() => { [segment.start, segment.end] = times; });
  return true;
}

export function remove(segment) {
  if (!segment) return say("Choose a segment first (its number).");
  edit(() => {
    state.segments = state.segments.filter((other) => other !== segment);
    state.selected = null;
  });
  say("Segment deleted. Ctrl+Z brings it back.");
}

export function toggleNone() {
  edit(() => {
    state.none = !state.none;
    if (state.none) Object.assign(state, { segments: [], selected: null });
  });
  say(state.none ? "Nothing occurs in this video. Ctrl+Z takes that back." : "Taken back.");
}

export const replace = (work) => edit(() => put(work));
export function select(segment) {
  state.selected = segment ? segment.id : null;
  changed();
}

// The class of a new segment: the chosen one's, or the first that was asked about.
export const newLabel = () => chosen()?.label || state.item.asked[0] || classes[0];
