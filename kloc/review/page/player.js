// The video: playing, stepping by frames, looping. Here alone video seconds become the copy's own, which starts at 0.

import { $, clamp, clock, say } from "./base.js";
import { changed, chosen, state } from "./edit.js";

const video = $("video");
const rates = [0.25, 0.5, 1, 1.5, 2, 3];
const moved = [];
// Where the playhead shall be while the video is still seeking there, and where it was sent.
let wanted = null;
let issued = null;
let broken = true;

export const onMove = (listener) => moved.push(listener);
const move = () => moved.forEach((listener) => listener());
const start = () => state.item?.start ?? 0;
const end = () => state.item?.end ?? 0;
const offset = () => state.item?.offset ?? 0;
export const now = () => clamp(wanted === null ? video.currentTime + offset() : wanted, start(), end());

// Seeks are not queued: while one is under way only the newest wish is kept.
export function seek(t) {
  wanted = clamp(t, start(), end());
  if (!broken && video.readyState >= 1 && !video.seeking) issue();
  move();
}
function issue() {
  issued = wanted;
  video.currentTime = Math.max(wanted - offset(), 0);
}
video.addEventListener("seeked", () => {
  if (wanted === null) return;
  if (wanted !== issued) return issue();
  wanted = null;
  move();
});

// The middle of a frame is shown by every decoder alike, its first instant is not.
const frameOf = (t) => Math.floor((t - offset()) / state.item.frame_period + 0.01);
const middle = (k) => (k + 0.5) * state.item.frame_period + offset();
export const edge = (t) => Math.round((t - offset()) / state.item.frame_period) * state.item.frame_period + offset();
export const frameStart = () => Math.max(frameOf(now()) * state.item.frame_period + offset(), start());
export const frameEnd = () => Math.min((frameOf(now()) + 1) * state.item.frame_period + offset(), end());
export function step(frames) {
  video.pause();
  seek(middle(Math.max(frameOf(now()) + frames, 0)));
}
export const stepSeconds = (delta) => seek(now() + delta);
export const seekFrameAt = (t) => seek(middle(frameOf(t)));
export const seekFrameBefore = (t) => seek(middle(Math.max(frameOf(t - state.item.frame_period * 0.5), 0)));

export function playPause() {
  if (broken) return;
  if (!video.paused) return video.pause();
  if (now() >= end() - 0.1) seek(start());
  video.play().catch((error) => {
    if (error.name !== "AbortError") say(`The video could not be started: ${error.message}`, true);
  });
}

export function speed(direction) {
  const at = rates.indexOf(video.playbackRate);
  video.playbackRate = direction ? rates[clamp(at + direction, 0, rates.length - 1)] : rates[(at + 1) % rates.length];
  $("speed").textContent = `${video.playbackRate}×`;
  $("speed").setAttribute("aria-label", `Speed ${video.playbackRate}×`);
}

export function toggleLoop() {
  const segment = chosen();
  if (!segment) return say("Choose a segment to loop (its number).");
  state.loop = !state.loop;
  if (state.loop) {
    seek(segment.start);
    if (video.paused) playPause();
  } else video.pause();
  changed();
}

export function load(key) {
  broken = true;
  wanted = state.item.start;
  cover("Loading the video…");
  video.src = `film/${key}`;
  video.load();
  move();
}

function cover(text) {
  $("cover").hidden = !text;
  $("cover").textContent = text;
}

video.addEventListener("loadeddata", () => {
  broken = false;
  cover("");
  if (wanted !== null) issue();
});
video.addEventListener("error", async () => {
  broken = true;
  const source = video.getAttribute("src");
  let reason = "This browser cannot play the copy of this video.";
  try {
    const answer = await fetch(source, { headers: { Range: "bytes=0-0" } });
    if (!answer.ok) reason = (await answer.json()).error;
  } catch {
    reason = "The review server does not answer.";
  }
  if (video.getAttribute("src") === source) cover(`${reason} The answers can be reviewed all the same.`);
});
for (const name of ["play", "pause"]) {
  video.addEventListener(name, () => {
    $("play").textContent = video.paused ? "▶" : "❚❚";
    $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
  });
}

function tick() {
  if (!video.paused && wanted === null && state.item) {
    const segment = chosen();
    if (state.loop && segment && (now() >= segment.end - 0.02 || now() < segment.start - 0.1)) seek(segment.start);
    else if (now() >= end() - 0.01) video.pause();
    move();
  }
  requestAnimationFrame(tick);
}
requestAnimationFrame(tick);
onMove(() => { $("clock").textContent = state.item ? `${clock(now())} / ${clock(end())}` : ""; });
