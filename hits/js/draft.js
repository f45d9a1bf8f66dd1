// Drafts. In a sandboxed frame localStorage throws, so the server at draftUrl keeps them, and whoever framed the page
// keeps what the server does not have yet. All that work are used, until the answer has arrived.

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
let keeper = false;
let draftLost = false;
let draftReady = false;
let draftDirty = false;
let draftSaving = false;
let draftTimer = 0;
let spent = 0;

function draft() {
  return {
    version: 1, guideline: task.guideline, segments: state.segments.map(({ id, ...rest }) => rest),
    none: state.none, pending: state.pending, label: state.label, watched, seconds_spent: spent, time: now(), saved: Date.now(), events: counters,
    sending: state.sending,
  };
}

function showSaved(text, kind = "") {
  if ($("saved").textContent !== text) $("saved").textContent = text;
  $("saved").className = kind;
}

// Keeps a text for the next time that this page is opened, null: forgets it.
function keepHere(text) {
  if (keeper) window.parent.postMessage({ type: "kloc-keep", key: draftKey, text }, "*");
  if (!storage) return;
  try {
    if (text === null) storage.removeItem(draftKey);
    else storage.setItem(draftKey, text);
  } catch {
    storage = null;
  }
}

// Whether leaving now would cost the worker something. A sandboxed frame may not ask: whoever framed it does.
let unsent = false;
function warnLeaving() {
  const now = !state.over && (state.sending || draftLost);
  if (now !== unsent) window.parent.postMessage({ type: "kloc-unsent", assignmentId, unsent: now }, "*");
  unsent = now;
}
addEventListener("beforeunload", (event) => { if (unsent) event.preventDefault(); });

// The answer has arrived, or the task is given back.
function endDrafts() {
  state.over = true;
  state.sending = false;
  clearTimeout(draftTimer);
  keepHere(null);
  warnLeaving();
}

function saveSoon(delay = 500) {
  if (state.over) return;
  draftDirty = true;
  if (!storage && !draftUrl) return showSaved("Kept until you close this page");
  clearTimeout(draftTimer);
  draftTimer = setTimeout(saveNow, delay);
}

async function saveNow(leaving = false) {
  // Who leaves cannot wait for the request that is under way: it ends with the page.
  if (!draftReady || state.over || (leaving ? !draftDirty && !draftSaving : !draftDirty || draftSaving)) return;
  const body = JSON.stringify(draft());
  draftDirty = false;
  keepHere(body);
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
  if (state.over) return;
  const here = storage || keeper;
  draftLost = !saved && !here;
  warnLeaving();
  if (saved) showSaved("Saved");
  else showSaved(here ? "Saved on this device" : "Not saved, trying again…", here ? "" : "bad");
  if (!saved) saveSoon(2000);
  else if (draftDirty) saveSoon();
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

async function storedDraft() {
  const kept = storage ? storage.getItem(draftKey) : await recall("kloc-kept", draftKey);
  keeper = !storage && kept !== null;
  try {
    return JSON.parse(kept);
  } catch {
    return null;
  }
}

async function loadDraft() {
  const drafts = await Promise.all([storedDraft(), draftUrl ? fetchDraft() : null]);
  const found = drafts.filter((one) => one && one.version === 1);
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
  if (found.sending === true) {
    showState("Your answer was not sent yet.", "bad", el("button", { class: "quiet", onclick: submit }, "Send it now"));
  }
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
