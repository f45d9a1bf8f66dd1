// The instructions: every class with its rules and example clips. They open by themselves before the first task of
// a guideline version; whoever frames the page remembers that for a frame that may not.

const guideKey = `kloc:guide:${params.get("workerId")}:${task.guideline}`;

function paragraphs(text) {
  return text.split(/\n\s*\n/).map((part) => part.trim()).filter(Boolean).map((part) => el("p", {}, part));
}

function rulesOf(entry) {
  const rule = (word, text) => (text ? [el("dt", {}, word), el("dd", {}, text)] : []);
  return [...paragraphs(entry.definition), el("dl", {}, ...rule("Starts", entry.start_rule), ...rule("Ends", entry.end_rule))];
}

// A clip that plays over and over, until it is pressed.
function example({ media_key, start, end, caption }) {
  const src = address("media:" + media_key);
  if (!src) return [];
  const clip = el("video", { playsinline: true, preload: "auto", src });
  clip.muted = true;
  const rewind = () => { clip.currentTime = start; };
  clip.addEventListener("loadedmetadata", rewind);
  clip.addEventListener("ended", () => { rewind(); clip.play(); });
  clip.addEventListener("timeupdate", () => { if (clip.currentTime >= end || clip.currentTime < start - 0.5) rewind(); });
  clip.addEventListener("error", () => figure.remove());
  const toggle = () => (clip.paused ? clip.play().catch(() => {}) : clip.pause());
  const button = el("button", { "aria-label": `Play or pause the example: ${caption || "a clip"}`, onclick: toggle }, clip, el("i", {}, icon("play")));
  for (const name of ["play", "pause"]) clip.addEventListener(name, () => figure.classList.toggle("plays", !clip.paused));
  const figure = el("figure", {}, button, el("figcaption", {}, caption || ""));
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) clip.autoplay = true;
  return [figure];
}

function openGuide() {
  if ($("guide-box").open) return;
  video.pause();
  const general = paragraphs(task.instructions);
  const special = task.classes.flatMap((entry) => {
    const clips = (entry.examples || []).flatMap(example);
    return [el("h3", {}, entry.name), ...rulesOf(entry), ...(clips.length ? [el("div", { class: "examples" }, ...clips)] : [])];
  });
  // Of one class its own rules come first; a list of many comes after what holds for all.
  $("guide-text").replaceChildren(...(several ? [...general, ...special] : [...special, el("h3", {}, "How to mark"), ...general]));
  $("guide-box").showModal();
  $("guide-box").querySelector("form button").focus();
}

$("guide-box").addEventListener("close", () => {
  $("guide-text").replaceChildren();
  if (preview) return;
  if (storage) storage.setItem(guideKey, "read");
  window.parent.postMessage({ type: "kloc-guide-read", key: guideKey }, "*");
});

async function firstGuide() {
  const known = storage ? storage.getItem(guideKey) : await recall("kloc-guide", guideKey);
  if (!known && !past.length && state.pending === null && !state.locked && !document.querySelector("dialog[open]")) openGuide();
}
