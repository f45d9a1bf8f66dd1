// The review page: opens videos, saves, and knows the keys.

import { $, ask, classes, el, say } from "./base.js";
import * as work from "./edit.js";
import * as list from "./list.js";
import * as player from "./player.js";
import { drawSide, onDone, takeOver } from "./side.js";
import * as timeline from "./timeline.js";
import { CHIPS } from "./words.js";

const { state } = work;
// How often the server is asked for news, and how many times longer than its answer took that is at least.
const REFRESH_MS = 15000;
const REST = 20;
// The video that is on its way to the screen: the keys may be faster than the server.
let opening = null;

async function open(key) {
  if (!key || key === (opening || state.item?.key)) return;
  opening = key;
  try {
    const item = await ask(`items/${key}`);
    if (opening !== key) return;
    opening = null;
    const outdated = work.show(item);
    document.title = `${item.video_id} · kloc review`;
    history.replaceState(null, "", `#${key}`);
    player.load(key);
    timeline.fit();
    banner(outdated);
  } catch (error) {
    if (opening === key) opening = null;
    say(error.message, true);
  }
  list.drawList();
}
const neighbour = (direction) => open(list.neighbour(direction, opening || state.item?.key));

// Looks again at the list and at the video on the screen; what is not saved stays.
async function look() {
  try {
    const before = state.item && list.itemOf(state.item.key);
    await list.refresh();
    const now = state.item && list.itemOf(state.item.key);
    if (now && JSON.stringify(before) !== JSON.stringify(now)) await again();
  } catch (error) {
    say(error.message, true);
  }
}

async function again() {
  const { key } = state.item;
  const item = await ask(`items/${key}`);
  if (state.item.key === key) banner(work.show(item) || !$("banner").hidden);
}

function banner(outdated) {
  $("banner").hidden = !outdated;
  if (!outdated) return;
  $("banner").replaceChildren(
    "Somebody saved this video meanwhile. Their version is the lane “Saved”; yours is still here. ",
    el("button", { onclick: save }, "Save mine above it"),
    el("button", { onclick: () => { work.replace(work.stored(state.item)); banner(false); } }, "Use theirs"),
  );
}

let saving = false;
async function save() {
  if (!state.item || saving) return;
  if (!state.segments.length && !state.none) return say("Mark what occurs, or say that it does not occur (0).", true);
  await write(`save/${state.item.key}`, { base: state.item.revision, segments: work.toSave(), none: state.none }, "Saved as your review.");
}
async function takeBack() {
  if (!state.item || saving) return;
  if (work.dirty()) return say("Save or undo your changes first.", true);
  await write(`take-back/${state.item.key}`, { base: state.item.revision }, "Taken back: the crowd's consensus counts again.");
}

async function write(path, body, words) {
  saving = true;
  const { key } = state.item;
  const sent = work.mark();
  drawActs();
  try {
    const item = await ask(path, body);
    // What was changed while it was being sent stays, and is not saved yet.
    if (state.item.key === key) {
      work.show(item, work.mark() === sent);
      banner(false);
    } else work.sentOff(key, sent);
    say(words);
  } catch (error) {
    say(error.message, true);
    if (error.status === 409 && state.item.key === key) {
      await again();
      banner(true);
    }
  } finally {
    saving = false;
    drawActs();
  }
  await list.refresh().catch((error) => say(error.message, true));
}

function drawActs() {
  const { item } = state;
  const dirty = work.dirty();
  $("undo").disabled = !work.canUndo();
  $("redo").disabled = !work.canRedo();
  $("back").disabled = !item || item.source !== "review" || saving;
  $("save").disabled = !item || saving || (!dirty && item.source === "review");
  $("loop").setAttribute("aria-pressed", String(state.loop));
  for (const id of ["add", "none"]) $(id).disabled = !item;
}

function draw() {
  drawActs();
  if (!state.item) return;
  const { item } = state;
  $("title").textContent = item.video_id;
  $("about").textContent = `asked: ${item.asked.join(", ") || "nothing"}`;
  timeline.draw();
  drawSide();
}
work.onChange(draw);
let wasDirty = false;
work.onChange(() => {
  if (work.dirty() !== wasDirty) list.drawList();
  wasDirty = work.dirty();
});

// -- keys

function addHere() {
  if (!state.item) return;
  const start = player.frameStart();
  const size = Math.max(1, (state.item.end - state.item.start) * 0.02);
  work.add(work.newLabel(), start, start + size);
}
function setEdge(name) {
  const segment = work.chosen();
  if (!segment) return say("Choose a segment first (its number).");
  const t = name === "start" ? player.frameStart() : player.frameEnd();
  work.setTimes(segment, name === "start" ? t : segment.start, name === "end" ? t : segment.end);
}
function jump(number) {
  const segment = state.segments[number - 1];
  if (!segment) return;
  work.select(segment);
  player.seek(segment.start);
}
function nextClass() {
  const segment = work.chosen();
  if (!segment) return say("Choose a segment first (its number).");
  work.edit(() => { segment.label = classes[(classes.indexOf(segment.label) + 1) % classes.length]; });
}
function nextAnswer(direction) {
  const { answers } = state.item;
  if (!answers.length) return;
  const at = answers.findIndex((a) => a.id === state.answer);
  state.answer = answers[(at < 0 && direction < 0 ? answers.length - 1 : at + direction + answers.length) % answers.length].id;
  work.changed();
  document.querySelector(".lane.answer.on")?.scrollIntoView({ block: "nearest" });
}
const help = () => $("help-box").showModal();

const KEYS = [
  ["N  P", "Next, previous video"], ["Space", "Play or pause"], ["← →", "One frame (with Shift one second)"],
  [", .", "Slower, faster"], ["1 … 9", "Choose a segment and go there"], ["A", "New segment at the playhead"],
  ["[ ]", "Start, end of the segment at the playhead"], ["C", "Next class"], ["Delete", "Delete the segment"],
  ["0", "Does not occur"], ["L", "Loop the segment"], ["J  K", "Next, previous answer"], ["T", "Take over the answer"],
  ["Ctrl+Z  Ctrl+Y", "Undo, redo"], ["S", "Save as your review"], ["+ − F", "Zoom in, out, whole video"],
  ["/", "Find a video"], ["R", "Sort the list anew"], ["Esc", "Nothing chosen"],
];
$("keys").replaceChildren(...KEYS.map(([key, what]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what))));
$("legend").replaceChildren(...Object.entries(CHIPS).flatMap(([name, means]) => [el("dt", {}, name), el("dd", {}, means)]));

const ACTIONS = {
  n: () => neighbour(1), p: () => neighbour(-1), " ": player.playPause,
  ",": () => player.speed(-1), ".": () => player.speed(1), a: addHere, "[": () => setEdge("start"), "]": () => setEdge("end"),
  c: nextClass, Delete: () => work.remove(work.chosen()), Backspace: () => work.remove(work.chosen()), 0: work.toggleNone,
  l: player.toggleLoop, j: () => nextAnswer(1), k: () => nextAnswer(-1), t: takeOver, s: save,
  "+": () => timeline.zoom(0.6), "=": () => timeline.zoom(0.6), "-": () => timeline.zoom(1 / 0.6), f: timeline.fit,
  r: () => list.refresh(true), Escape: () => { state.answer = null; work.select(null); },
};
const ALWAYS = { "/": () => $("find").focus(), "?": help };

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    const run = { z: event.shiftKey ? work.redo : work.undo, y: work.redo, s: save }[key];
    if (!run || (typing && key !== "s")) return;
    event.preventDefault();
    return run();
  }
  if (typing) {
    if (key === "Escape") typing.blur();
    if (key === "Enter" && typing.classList.contains("time")) typing.dispatchEvent(new Event("change"));
    return;
  }
  if (ALWAYS[key]) {
    event.preventDefault();
    return ALWAYS[key]();
  }
  if (!state.item) return;
  if ((key === " " || key === "Enter") && event.target.closest("button, a")) return;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    event.preventDefault();
    const direction = key === "ArrowLeft" ? -1 : 1;
    return event.shiftKey ? player.stepSeconds(direction) : player.step(direction);
  }
  if (/^[1-9]$/.test(key)) return jump(Number(key));
  if (!ACTIONS[key]) return;
  event.preventDefault();
  ACTIONS[key]();
});

for (const [id, run] of [
  ["undo", work.undo], ["redo", work.redo], ["back", takeBack], ["save", save], ["help", help], ["add", addHere], ["none", work.toggleNone],
  ["play", player.playPause], ["frame-back", () => player.step(-1)], ["frame-on", () => player.step(1)], ["speed", () => player.speed(0)],
  ["loop", player.toggleLoop], ["zoom-in", () => timeline.zoom(0.6)], ["zoom-out", () => timeline.zoom(1 / 0.6)], ["fit", timeline.fit],
  ["reload", () => list.refresh(true)],
]) $(id).addEventListener("click", run);
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
addEventListener("beforeunload", (event) => { if (work.anythingUnsaved()) event.preventDefault(); });
addEventListener("focus", look);
async function watch() {
  const began = performance.now();
  if (document.visibilityState === "visible") await look();
  setTimeout(watch, Math.max(REFRESH_MS, REST * (performance.now() - began)));
}
setTimeout(watch, REFRESH_MS);

list.onOpen(open);
onDone(async () => {
  await list.refresh();
  await again();
});
draw();
try {
  const said = await list.refresh(true);
  classes.push(...said.classes);
  const first = location.hash.slice(1);
  const key = list.itemOf(first) ? first : list.neighbour(1);
  if (key) await open(key);
  else $("about").textContent = "Nothing to review yet: publish a round and ingest answers, or name a video with --video.";
} catch (error) {
  say(error.message, true);
}
document.body.dataset.ready = "1";
