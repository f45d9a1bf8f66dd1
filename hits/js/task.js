// Putting it together: what the worker reads, the keys, the buttons, the first drawing.

function changed(save = true) {
  const open = state.pending !== null;
  drawTimeline();
  drawList();
  $("add-text").textContent = open ? "Close segment" : "Add segment";
  $("add").classList.toggle("open", open);
  $("none").setAttribute("aria-checked", state.none);
  $("gaps").setAttribute("aria-pressed", state.gaps);
  $("undo").disabled = state.locked || (!past.length && !open);
  $("redo").disabled = state.locked || !future.length;
  for (const node of document.querySelectorAll(".edit:not(#undo):not(#redo), #none")) node.disabled = state.locked;
  $("submit").disabled = state.locked;
  if (!state.locked && $("state").className === "bad") showState("");
  for (const [i, chip] of [...$("classes").children].entries()) {
    chip.setAttribute("aria-pressed", names[i] === ((chosen() || state).label));
  }
  drawRules();
  if (save) saveSoon();
}

function markStart() {
  if (readOnly()) return;
  const segment = chosen();
  const k = shown();
  // Past the end of the chosen segment, a start can only mean the next one.
  if (state.pending !== null || !segment || startOf(k) >= segment.end - FRAME / 2) return open(k);
  if (setTimes(segment, startOf(k), segment.end)) say(`Start set to ${clock(segment.start)}`);
}

function markEnd() {
  if (readOnly()) return;
  const k = shown();
  if (state.pending !== null) return close(k);
  const segment = chosen() || state.segments.find((s) => endOf(k) > s.start && startOf(k) < s.end);
  if (!segment) return say("Press [ where the action starts first.");
  state.selected = segment.id;
  if (endOf(k) <= segment.start + FRAME / 2) return say("The playhead is before this segment. To make a new one, press A where it starts.", "warn");
  if (setTimes(segment, segment.start, endOf(k))) say(`End set to ${clock(segment.end)}`);
}

function jump(edge) {
  const segment = chosen();
  if (!segment) return say("Choose a segment first (N or P).");
  video.pause();
  seekFrame(edge === "start" ? frameAt(segment.start) : lastIn(segment.end));
}

const actions = {
  play: playPause, start: markStart, end: markEnd, undo: () => undo(), redo, gaps: reviewGaps, mute,
  add: () => (state.pending === null ? open(shown()) : close(shown())),
  "back-frame": () => step(-1), "next-frame": () => step(1),
  "back-second": () => stepSeconds(-1), "next-second": () => stepSeconds(1),
  speed: () => speed(0), "zoom-in": () => zoom(0.6), "zoom-out": () => zoom(1 / 0.6),
};

const keys = {
  " ": playPause, "[": markStart, i: markStart, "]": markEnd, o: markEnd, a: actions.add,
  arrowup: actions["zoom-in"], arrowdown: actions["zoom-out"], f: fit,
  home: () => seekFrame(0), end: () => seekFrame(LAST),
  delete: () => remove(chosen()), backspace: () => remove(chosen()),
  n: () => neighbour(1), p: () => neighbour(-1), l: loop, g: reviewGaps, u: nextUnwatched,
  ",": () => jump("start"), ".": () => jump("end"), "<": () => jump("start"), ">": () => jump("end"),
  "+": () => speed(1), "=": () => speed(1), "-": () => speed(-1), _: () => speed(-1),
  z: () => undo(), y: redo, m: mute, 0: toggleNone, "?": openHelp, h: openGuide, k: () => keep(),
  escape: () => (state.pending !== null ? cancelPending() : select(null)),
};
const help = [
  ["Space", "play or pause"], ["← →", "one frame"], ["Shift + ← →", "one second"], ["Home End", "first or last frame"],
  ["A", "open a segment; again to close it"], ["[ or I", "set the start here"], ["] or O", "set the end here"],
  ["N P", "next or previous segment"], [", .", "jump to its start or end"], ["L", "play it in a loop"],
  ...(task.prefill.length ? [["K", "keep the proposal, go to the next"]] : []), ["Del", "delete it"], ["Esc", "drop the open segment"], ["Ctrl + Z, Y", "undo, redo"],
  ["0", "the action does not occur"], ["G", "play only what is not marked"], ["U", "next part not watched"],
  ["+ −", "faster, slower"], ["↑ ↓", "zoom in, out"], ["F", "the whole timeline"], ["M", "sound on or off"],
  ["H", "the instructions"],
];

addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.defaultPrevented || drag || document.querySelector("dialog[open]") || !$("done").hidden) return;
  if (target.matches("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  const control = (event.ctrlKey || event.metaKey) && !event.altKey;
  if (control && key !== "z" && key !== "y") return;
  if ((key === " " || key === "enter") && target.closest("button, summary, a")) return;
  let act = keys[key];
  if (key === "arrowleft" || key === "arrowright") {
    const direction = key === "arrowleft" ? -1 : 1;
    act = () => (event.shiftKey ? stepSeconds(direction) : step(direction));
  } else if (key === "z" && event.shiftKey) act = redo;
  else if (/^[1-9]$/.test(key) && several) act = () => (readOnly() ? null : chooseClass(Number(key) - 1));
  if (!act || (event.repeat && !key.startsWith("arrow"))) return;
  event.preventDefault();
  act();
});

// After a click with the pointer the keys belong to the page again, not to the button.
addEventListener("click", (event) => {
  const button = event.target.closest("button, summary");
  if (!button) return;
  if (event.detail > 0 && !button.closest("dialog")) button.blur();
  if (button.dataset.do) actions[button.dataset.do]();
});
$("play").addEventListener("click", playPause);
video.addEventListener("click", playPause);
$("seen").addEventListener("click", nextUnwatched);
$("none").addEventListener("click", toggleNone);
$("submit").addEventListener("click", submit);
$("help").addEventListener("click", openHelp);
$("guide").addEventListener("click", openGuide);

function openHelp() {
  video.pause();
  $("help-box").showModal();
}

let rulesFor;
function drawRules() {
  const label = several ? (chosen() || state).label : names[0];
  if (label === rulesFor) return;
  rulesFor = label;
  const entry = task.classes.find((one) => one.name === label);
  if (!entry) return $("rules").replaceChildren(el("p", {}, "Choose the class that you see; its rules appear here."));
  $("rules").replaceChildren(...rulesOf(entry));
  $("what").hidden = !several && !$("rules").textContent;
}

function write() {
  $("heading").append(...(several ? ["Mark every action from the list"] : ["Mark every time ", el("em", {}, names[0]), " happens"]));
  const money = /^\d+(\.\d+)?$/.test(task.reward) ? "$" + task.reward : task.reward;
  const minutes = Math.max(1, Math.round(task.expected_minutes));
  const contact = task.contact && "Questions? " + task.contact;
  $("facts").textContent = [training ? "Practice" : money, `about ${minutes} min`, contact].filter(Boolean).join(" · ");
  $("none-text").textContent = several ? "None of these occurs" : "The action does not occur";
  $("guide-title").textContent = task.title;
  const kbd = (text) => el("kbd", {}, text);
  $("hint").append("Press ", kbd("A"), " or “Add segment” where the action starts and again where it ends, or drag across the timeline.");
  if (several) {
    $("classes").append(...names.map((name, i) => {
      const chip = el("button", { class: "chip edit", "aria-pressed": "false", onclick: () => chooseClass(i) }, el("i"), name, ...(i < 9 ? [" ", kbd(i + 1)] : []));
      paint(chip, name);
      return chip;
    }));
  }
  $("keys").append(...[...help, ...(several ? [["1 – 9", "choose the class"]] : [])].map(([key, text]) =>
    el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text))));
  const banner = preview ? "Preview. You can watch the video; accept the task to mark segments."
    : training ? "This is practice. The correct marks of this video are known, and after you submit you see how close you came."
      : task.prefill.length ? "A model proposed these segments. It is often wrong: check every one, and look for what it missed." : "";
  $("banner").textContent = banner;
  $("banner").hidden = !banner;
  document.body.classList.toggle("preview", preview);
  $("report").hidden = preview || (training && !reportUrl);
}

$("boot").remove();
$("page").hidden = false;
state.segments = proposals.map((segment) => ({ ...segment }));
write();
changed(false);
drawWatched();
load();
requestAnimationFrame(tick);
if (!preview) {
  window.focus();
  loadDraft();
}
