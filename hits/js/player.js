// The video: playing, stepping by frames, looping, and proof of what was watched.

const video = $("video");
const rates = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3];
const watched = [];
// `wanted` is where the playhead shall be while the video is still seeking there, `issued` where it was sent.
let wanted = null;
let issued = null;
let before = 0;
let broken = false;
// How often in a row a seek landed elsewhere, or the connection to the video broke.
let misses = 0;
let breaks = 0;
let opened = false;
let twice = false;
let reopening = 0;

const now = () => (wanted === null ? video.currentTime : wanted);
const shown = () => frameAt(now());

// Seeks are not queued: while one is under way only the newest wish is kept.
function seek(t) {
  if (broken) return;
  wanted = clamp(t, 0, DURATION);
  before = wanted;
  if (video.readyState >= 1 && !video.seeking) issue();
  reveal(wanted);
  drawPlayhead();
}
const seekFrame = (k) => seek(middle(clamp(k, 0, LAST)));

function issue() {
  issued = wanted;
  video.currentTime = wanted;
}

video.addEventListener("seeked", () => {
  if (wanted === null) return;
  if (wanted !== issued) return issue();
  if (Math.abs(video.currentTime - issued) > FRAME * 1.5 + 0.05) {
    count("failed_seeks");
    if (++misses <= 2) return issue();
    warn("The video did not go where it was sent. The playhead stands where the picture is, and so do your marks.");
  }
  misses = 0;
  before = video.currentTime;
  wanted = null;
  drawPlayhead();
});

function playPause() {
  if (broken) return;
  if (!video.paused) return video.pause();
  if (now() >= DURATION - FRAME * 1.5) seek(0);
  count("plays");
  video.play().catch((error) => {
    if (error.name !== "AbortError") say("The video could not be started: " + error.message, "warn");
  });
}

function step(frames) {
  video.pause();
  seekFrame(shown() + frames);
}

function stepSeconds(delta) {
  const k = frameAt(clamp(now() + delta, 0, DURATION));
  if (video.paused) seekFrame(k);
  else seek(middle(k));
}

function speed(direction) {
  const at = rates.indexOf(video.playbackRate);
  const next = direction ? rates[clamp(at + direction, 0, rates.length - 1)] : rates[(at + 1) % rates.length];
  video.playbackRate = next;
  const text = String(next).replace("0.", ".") + "×";
  $("speed").textContent = text;
  $("speed").setAttribute("aria-label", "Speed " + next + "×");
  say("Speed " + next + "×");
}

function mute() {
  video.muted = !video.muted;
  $("mute").setAttribute("aria-pressed", video.muted);
  $("mute").replaceChildren(icon(video.muted ? "mute" : "sound"));
}

function loop() {
  const segment = chosen();
  if (!segment) return say("Choose a segment to loop (N or P).");
  state.loop = !state.loop;
  state.gaps = false;
  count("loops");
  if (state.loop) {
    seekFrame(frameAt(segment.start));
    if (video.paused) playPause();
  } else video.pause();
  say(state.loop ? "Looping the segment" : "Loop off");
  changed();
}

// Plays what is not marked, so that nothing is missed.
function reviewGaps() {
  state.gaps = !state.gaps;
  state.loop = false;
  count("reviews");
  if (state.gaps && video.paused) playPause();
  say(state.gaps ? "Playing only what is not marked" : "Playing everything");
  changed();
}

function saw(start, end) {
  let at = 0;
  while (at < watched.length && watched[at][1] < start - 0.02) at++;
  let to = at;
  while (to < watched.length && watched[to][0] <= end + 0.02) {
    start = Math.min(start, watched[to][0]);
    end = Math.max(end, watched[to][1]);
    to++;
  }
  watched.splice(at, to - at, [start, end]);
}
const watchedShare = () => Math.min(1, watched.reduce((sum, [a, b]) => sum + b - a, 0) / DURATION);

function nextUnwatched() {
  let t = 0;
  for (const [a, b] of watched) {
    if (a - t > 0.25) break;
    t = b;
  }
  if (DURATION - t < 0.25) return say("You have watched the whole video.");
  seekFrame(frameAt(t));
  if (video.paused) playPause();
}

// Only playing in a visible page counts as watching. The clock ticks with every drawn frame, and a few times a
// second where drawing is slow.
function watch() {
  if (video.paused || wanted !== null) return;
  const t = video.currentTime;
  const gone = t - before;
  if (gone > 0 && gone < 1 + 2 * video.playbackRate && document.visibilityState === "visible") saw(before, t);
  before = t;
}
video.addEventListener("timeupdate", watch);

function tick() {
  watch();
  if (!video.paused && wanted === null) {
    const t = video.currentTime;
    const segment = chosen();
    if (state.loop && segment && (t >= segment.end - FRAME * 0.5 || t < segment.start - FRAME)) {
      seekFrame(frameAt(segment.start));
    } else if (state.gaps) {
      const inside = state.segments.find((other) => t >= other.start && t < other.end - FRAME);
      if (inside) seek(inside.end + FRAME / 2);
    }
    follow(t);
    drawPlayhead();
    drawWatched();
  }
  requestAnimationFrame(tick);
}

function cover(text, ...actions) {
  $("cover").hidden = !text;
  $("cover-text").textContent = text;
  $("cover-actions").replaceChildren(...actions);
}

// What the video is made of, in the words of canPlayType.
const CODECS = { "video/mp4": ["H.264", 'video/mp4; codecs="avc1.4d401f"'], "video/webm": ["VP8 or VP9", "video/webm"] };

// With which status the video's server answers a request for the first bytes; 0 where it cannot be asked.
async function askServer(url) {
  const stop = new AbortController();
  try {
    return (await fetch(url, { headers: { Range: "bytes=0-1" }, cache: "no-store", signal: stop.signal })).status;
  } catch {
    return 0;
  } finally {
    stop.abort();
  }
}

// Without an answer in parts (206) seeks land at the beginning, while the browser says that all is well. Such a
// video is loaded whole, and played from memory.
async function checkParts(url) {
  if (await askServer(url) !== 200) return;
  count("no_ranges");
  warn("The server of this video does not send parts of it, so the whole video is loading. Until then jumping fails: mark only what you see under the playhead.");
  try {
    const whole = await (await fetch(url)).blob();
    wanted = now();
    scout = null;
    video.src = URL.createObjectURL(whole);
    $("alert").hidden = true;
    say("The whole video is loaded.");
  } catch {
    // The warning stands.
  }
}

const tellButton = () => (preview ? [] : [el("button", { class: "primary", onclick: openReport }, "Report a problem")]);

function cannotPlay(reason) {
  broken = true;
  count("media_errors");
  cover(reason, el("button", { onclick: load }, "Try again"), ...tellButton());
  $("live").textContent = reason;
}

function load() {
  const url = address("mediaUrl");
  clearTimeout(reopening);
  broken = false;
  cover("Loading the video…");
  if (!url) return cannotPlay("This page was opened without the address of a video.");
  const [codec, type] = CODECS[task.media_type];
  if (!video.canPlayType(type)) {
    return cannotPlay(`This browser cannot play ${codec} video, which this task needs. Please open it in a recent Chrome, Edge, Firefox or Safari.`);
  }
  video.src = url;
  video.load();
}

// Where the connection broke, the page waits a little and opens the video again where it was.
function reopen() {
  const wait = 2 ** breaks++;
  count("media_breaks");
  const text = `The connection to the video broke. What you have marked is safe. Trying again in ${wait} s…`;
  cover(text, el("button", { onclick: load }, "Try now"), ...tellButton());
  $("live").textContent = text;
  reopening = setTimeout(load, wait * 1000);
}

video.addEventListener("error", async () => {
  const code = video.error ? video.error.code : 0;
  wanted = now();
  broken = true;
  if (breaks < (opened ? 5 : 3)) {
    if (code === 2) return reopen();
    const status = code === 4 ? await askServer(address("mediaUrl")) : 400;
    if (status === 0 || status >= 500) return reopen();
    // The server answers, perhaps since a moment ago: once more, before the video is blamed.
    if (status < 300 && !twice) {
      twice = true;
      return load();
    }
  }
  cannotPlay(
    code === 2 ? "The connection broke while the video was loading. What you have marked is safe."
      : code === 3 ? "The video is damaged or uses a format that this browser cannot decode."
        : "The video could not be opened: the link may have run out, or this browser cannot play its format."
  );
});
video.addEventListener("loadeddata", () => {
  cover("");
  if (!opened) checkParts(video.currentSrc);
  opened = true;
  breaks = 0;
  twice = false;
  if (!video.videoWidth) return cannotPlay("This browser plays the sound of this video, but cannot decode its picture.");
  if (wanted !== null) issue();
  drawPlayhead();
});
for (const name of ["play", "pause"]) {
  video.addEventListener(name, () => {
    $("play").replaceChildren(icon(video.paused ? "play" : "pause"));
    $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
    before = now();
    if (video.paused) saveSoon();
  });
}
video.addEventListener("waiting", () => $("stage").classList.add("waiting"));
for (const name of ["playing", "seeked", "canplay"]) {
  video.addEventListener(name, () => $("stage").classList.remove("waiting"));
}
video.addEventListener("ended", () => {
  if (DURATION - before < 1) saw(before, DURATION);
  if (state.gaps) reviewGaps();
  drawWatched();
});
