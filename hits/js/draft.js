// Drafts. In a sandboxed frame localStorage throws, so the server at draftUrl keeps them; both are used where both work.

const draftUrl = preview ? null : address("draftUrl");
const draftKey = `kloc:${assignmentId}:${task.guideline}`;
let storage = null;
try {
  if (!preview) {
    localStorage.getItem(draftKey);
    storage = localStorage;
  }
} catch {
  storage = null;
}
let draftReady = false;
let draftDirty = false;
let draftSaving = false;
let draftTimer = 0;
let spent = 0;

function draft() {
  return {
    version: 1, guideline: task.guideline, segments: state.segments.map(({ id, ...rest }) => rest),
    none: state.none, pending: state.pending, label: state.label, watched, seconds_spent: spent, time: now(), saved: Date.now(), events: counters,
  };
}

function showSaved(text, kind = "") {
  if ($("saved").textContent !== text) $("saved").textContent = text;
  $("saved").className = kind;
}

function saveSoon(delay = 500) {
  if (preview || state.locked) return;
  draftDirty = true;
  if (!storage && !draftUrl) return showSaved("Kept until you close this page");
  clearTimeout(draftTimer);
  draftTimer = setTimeout(saveNow, delay);
}

async function saveNow(leaving = false) {
  if (!draftDirty || !draftReady || (draftSaving && !leaving) || state.locked) return;
  const body = JSON.stringify(draft());
  draftDirty = false;
  if (storage) {
    try {
      storage.setItem(draftKey, body);
    } catch {
      storage = null;
    }
  }
  if (!draftUrl) return showSaved(storage ? "Saved" : "Kept until you close this page");
  draftSaving = true;
  showSaved("Saving…");
  let saved = false;
  try {
    // A request that outlives the page may carry at most 64 KiB.
    const reply = await fetch(draftUrl, {
      method: "PUT", headers: { "Content-Type": "application/json" }, body, keepalive: leaving && body.length < 60000,
      signal: leaving ? undefined : AbortSignal.timeout(15000),
    });
    saved = reply.ok;
  } catch {
    saved = false;
  }
  draftSaving = false;
  if (saved) showSaved("Saved");
  else showSaved(storage ? "Saved on this device" : "Not saved, trying again…", storage ? "" : "bad");
  if (!saved && !state.locked) {
    draftDirty = true;
    draftTimer = setTimeout(saveNow, 4000);
  } else if (draftDirty) saveSoon();
}

// The draft at the server, null where there is none. Keeps asking while the server cannot be reached: saving
// before that would overwrite it.
async function fetchDraft() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const reply = await fetch(draftUrl, { signal: AbortSignal.timeout(15000), cache: "no-store" });
      if (reply.ok) return reply.status === 204 ? null : await reply.json();
      if (reply.status < 500 && reply.status !== 429) return null;
    } catch (error) {
      if (error instanceof SyntaxError) return null;
    }
    showSaved("Looking for your earlier work…", "bad");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function storedDraft() {
  if (!storage) return null;
  try {
    return JSON.parse(storage.getItem(draftKey));
  } catch {
    return null;
  }
}

async function loadDraft() {
  const found = [storedDraft(), draftUrl ? await fetchDraft() : null].filter((one) => one && one.version === 1);
  found.sort((a, b) => (b.saved || 0) - (a.saved || 0));
  draftReady = true;
  showSaved("");
  if (!found.length) firstGuide();
  // Whoever began to mark while the server was silent keeps what was marked now.
  if (found.length && !past.length && state.pending === null) useDraft(found[0]);
  if (draftDirty) saveSoon();
}

function useDraft(found) {
  state.segments = segmentsFrom(found.segments);
  state.none = found.none === true && !state.segments.length;
  if (names.includes(found.label)) state.label = found.label;
  if (Number.isInteger(found.pending)) state.pending = clamp(found.pending, 0, LAST);
  for (const pair of Array.isArray(found.watched) ? found.watched : []) {
    if (Array.isArray(pair) && Number.isFinite(pair[0]) && pair[1] > pair[0]) saw(clamp(pair[0], 0, DURATION), clamp(pair[1], 0, DURATION));
  }
  if (found.seconds_spent > 0) spent += found.seconds_spent;
  for (const [key, value] of Object.entries(found.events || {})) {
    if (Number.isFinite(value)) counters[key] = (counters[key] || 0) + value;
  }
  if (found.time > 0) seekFrame(frameAt(found.time));
  count("drafts_restored");
  if (state.segments.length || state.none) say("Your earlier work is back.");
  showSaved("Saved");
  changed(false);
  drawWatched();
}

// Time on the task: the page is visible, and somebody played the video or touched something in the last minute.
let lastSign = performance.now();
let lastTick = lastSign;
for (const name of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  addEventListener(name, () => { lastSign = performance.now(); }, { passive: true, capture: true });
}
setInterval(() => {
  const t = performance.now();
  const busy = document.visibilityState === "visible" && (!video.paused || t - lastSign < 60000);
  if (busy && !state.locked) spent += Math.min(t - lastTick, 2000) / 1000;
  lastTick = t;
}, 500);
setInterval(() => {
  if (!video.paused) saveSoon();
}, 10000);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") saveNow(true);
});
addEventListener("pagehide", () => saveNow(true));
