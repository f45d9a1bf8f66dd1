// The timeline: a ruler to scrub, a lane with the segments, an overview with what was watched.

const ruler = $("ruler");
const lane = $("lane");
const overview = $("overview");
const view = { start: 0, span: DURATION };
const minSpan = Math.min(DURATION, FRAME * 30);
const bars = new Map();
const pct = (value) => (value * 100).toFixed(4) + "%";
const inView = (t) => (t - view.start) / view.span;

function setView(start, span) {
  view.span = clamp(span, minSpan, DURATION);
  view.start = clamp(start, 0, DURATION - view.span);
  drawTimeline();
}
// Zooms by a factor and keeps the time `at` where it is on the screen.
function zoom(factor, at = now()) {
  if (at < view.start || at > view.start + view.span) at = view.start + view.span / 2;
  const span = clamp(view.span * factor, minSpan, DURATION);
  setView(at - inView(at) * span, span);
}
const fit = () => setView(0, DURATION);

function reveal(t) {
  if (t < view.start || t > view.start + view.span) setView(t - view.span / 2, view.span);
}
// While playing the view turns a page, it does not creep.
function follow(t) {
  if (t < view.start || t > view.start + view.span) setView(t - view.span * 0.05, view.span);
}
function revealSegment(segment) {
  const length = segment.end - segment.start;
  if (segment.start >= view.start && segment.end <= view.start + view.span) return;
  setView((segment.start + segment.end - Math.max(view.span, length * 1.4)) / 2, Math.max(view.span, length * 1.4));
}

function drawRuler() {
  const width = ruler.clientWidth || 1000;
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const big = steps.find((value) => (value / view.span) * width >= 72) || 7200;
  const digits = big < 1 ? 1 : 0;
  const ticks = [];
  for (let i = Math.ceil(view.start / big - 1e-6); i * big <= view.start + view.span + 1e-6; i++) {
    const tick = el("span", {}, inView(i * big) > 0.97 ? "" : clock(i * big, digits));
    tick.style.left = pct(inView(i * big));
    ticks.push(tick);
  }
  ruler.replaceChildren(...ticks);
  ruler.style.setProperty("--minor", pct(big / 5 / view.span));
  ruler.style.setProperty("--shift", `${((-view.start % (big / 5)) / view.span) * width}px`);
}

// Overlapping segments share the lane in rows; returns id -> row and the number of rows.
function rows() {
  const ends = [];
  const row = new Map();
  for (const segment of state.segments) {
    let at = ends.findIndex((end) => end <= segment.start + 1e-9);
    if (at < 0) at = ends.length;
    ends[at] = segment.end;
    row.set(segment.id, at);
  }
  return [row, Math.max(1, ends.length)];
}

function makeBar(id) {
  const handle = (edge) => el("i", { class: "handle", "data-edge": edge, role: "slider", tabindex: "-1", "aria-valuemin": 0, "aria-valuemax": DURATION });
  const bar = el("div", { class: "bar", "data-id": id }, handle("start"), el("span"), handle("end"));
  bars.set(id, bar);
  lane.append(bar);
  return bar;
}

function drawBars() {
  const [row, count] = rows();
  lane.style.setProperty("--rows", count);
  for (const [id, bar] of bars) {
    if (row.has(id)) continue;
    bar.remove();
    bars.delete(id);
  }
  state.segments.forEach((segment, i) => {
    const bar = bars.get(segment.id) || makeBar(segment.id);
    bar.style.left = pct(inView(segment.start));
    bar.style.width = pct((segment.end - segment.start) / view.span);
    bar.style.top = pct(row.get(segment.id) / count);
    bar.style.height = pct(1 / count);
    bar.classList.toggle("on", segment.id === state.selected);
    paint(bar, segment.label);
    bar.classList.toggle("proposed", unchecked(segment));
    bar.children[1].textContent = (several ? segment.label || "Which class?" : i + 1) + (unchecked(segment) ? " ?" : "");
    bar.title = `${segment.label || "No class yet"}, ${clock(segment.start)} to ${clock(segment.end)}`;
    for (const [handle, edge] of [[bar.children[0], "start"], [bar.children[2], "end"]]) {
      handle.setAttribute("aria-label", `${edge === "start" ? "Start" : "End"} of segment ${i + 1}`);
      handle.setAttribute("aria-valuenow", segment[edge]);
      handle.setAttribute("aria-valuetext", clock(segment[edge]));
      handle.tabIndex = segment.id === state.selected ? 0 : -1;
    }
  });
}

function drawPlayhead() {
  const t = Math.min(now(), DURATION);
  const x = inView(t);
  $("playhead").hidden = x < 0 || x > 1;
  $("playhead").style.left = pct(x);
  $("here").style.left = pct(t / DURATION);
  $("clock").replaceChildren(el("b", {}, clock(t)), ` / ${clock(DURATION)}`);
  ruler.setAttribute("aria-valuemax", DURATION.toFixed(2));
  ruler.setAttribute("aria-valuenow", t.toFixed(2));
  ruler.setAttribute("aria-valuetext", clock(t));
  const open = lane.querySelector(".pending");
  if (state.pending === null) return open && open.remove();
  const bar = open || lane.appendChild(el("div", { class: "pending" }));
  paint(bar, state.label);
  const [a, b] = [state.pending, shown()].sort((p, q) => p - q);
  bar.style.left = pct(inView(startOf(a)));
  bar.style.width = pct((endOf(b) - startOf(a)) / view.span);
}

const stripes = (list, label) => list.map(([a, b, l]) => {
  const stripe = el("i");
  stripe.style.left = pct(a / DURATION);
  stripe.style.width = pct((b - a) / DURATION);
  if (label) paint(stripe, l);
  return stripe;
});

function drawWatched() {
  const share = Math.floor(watchedShare() * 100 + 0.5);
  const text = share >= 99 ? "Watched in full" : `Watched ${share} %`;
  if ($("seen").textContent !== text) $("seen").textContent = text;
  $("seen").classList.toggle("full", share >= 99);
  $("watched").replaceChildren(...stripes(watched));
}

function drawTimeline() {
  drawRuler();
  drawBars();
  drawGold();
  $("marks").replaceChildren(...stripes(state.segments.map((s) => [s.start, s.end, s.label]), true));
  $("window").hidden = view.span >= DURATION;
  $("window").style.left = pct(view.start / DURATION);
  $("window").style.width = pct(view.span / DURATION);
  drawPlayhead();
}

// Pointers. A click seeks or chooses, a drag on empty space draws a segment, a drag on a bar moves it.
const timeAt = (event, node = lane) => {
  const box = node.getBoundingClientRect();
  return view.start + clamp((event.clientX - box.left) / box.width, 0, 1) * view.span;
};
let drag = null;

lane.addEventListener("pointerdown", (event) => {
  if (event.button || drag) return;
  const bar = event.target.closest(".bar");
  const edge = event.target.dataset.edge;
  const segment = bar && state.segments.find((other) => other.id === Number(bar.dataset.id));
  select(segment, false);
  const kind = edge || (segment ? "move" : "draw");
  drag = { kind, segment, x: event.clientX, t: timeAt(event), moved: false, before: snapshot(), base: segment && { ...segment } };
  lane.setPointerCapture(event.pointerId);
});

lane.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (!drag.moved && Math.abs(event.clientX - drag.x) < (event.pointerType === "mouse" ? 4 : 8)) return;
  if (!drag.moved && readOnly()) { drag = null; return; }
  if (!drag.moved) video.pause();
  drag.moved = true;
  const t = timeAt(event);
  const shift = t - drag.t;
  if (drag.kind === "draw") return drawNew(t);
  const { segment, base } = drag;
  if (drag.kind === "move") {
    const length = base.end - base.start;
    segment.start = snap(clamp(base.start + shift, 0, DURATION - length));
    segment.end = exact(segment.start + length);
    seekFrame(frameAt(segment.start));
  } else {
    const anchor = drag.kind === "start" ? base.end : base.start;
    const edge = snap(clamp(base[drag.kind] + shift, 0, DURATION));
    segment.start = Math.min(anchor, edge);
    segment.end = Math.max(anchor, edge);
    seekFrame(edge <= anchor && edge === segment.start ? frameAt(edge) : lastIn(edge));
  }
  drawBars();
  drawList();
});

function drawNew(t) {
  const ghost = lane.querySelector(".ghost") || lane.appendChild(el("div", { class: "ghost" }));
  paint(ghost, state.label);
  const [a, b] = [snap(drag.t), snap(t)].sort((p, q) => p - q);
  drag.times = [a, b];
  ghost.style.left = pct(inView(a));
  ghost.style.width = pct((b - a) / view.span);
  seekFrame(t < drag.t ? frameAt(a) : lastIn(b));
}

function endDrag(keep) {
  if (!drag) return;
  const { kind, segment, moved, before: old, base, times, t } = drag;
  drag = null;
  const ghost = lane.querySelector(".ghost");
  if (ghost) ghost.remove();
  if (!moved && keep) return seekFrame(frameAt(t));
  if (kind === "draw") {
    if (keep && times) add(...times);
  } else if (keep && tidy(segment.start, segment.end)) {
    state.segments.sort(byTime);
    commit(old);
  } else {
    Object.assign(segment, base);
    if (keep) say("A segment needs at least one frame. It stays as it was.", "warn");
  }
  changed();
}
lane.addEventListener("pointerup", () => endDrag(true));
lane.addEventListener("pointercancel", () => endDrag(false));

// Arrow keys on a focused handle move that edge by one frame, with Shift by one second.
lane.addEventListener("keydown", (event) => {
  const edge = event.target.dataset.edge;
  const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const segment = chosen();
  if (!edge || !direction || !segment) return;
  event.preventDefault();
  event.stopPropagation();
  const t = segment[edge] + direction * (event.shiftKey ? 1 : FRAME);
  if (!setTimes(segment, edge === "start" ? t : segment.start, edge === "end" ? t : segment.end)) return;
  seekFrame(edge === "start" ? frameAt(segment.start) : lastIn(segment.end));
});

function scrub(node, time, done = () => {}) {
  let held = false;
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    held = true;
    node.setPointerCapture(event.pointerId);
    seekFrame(frameAt(time(event)));
  });
  node.addEventListener("pointermove", (event) => {
    if (held) seekFrame(frameAt(time(event)));
  });
  for (const name of ["pointerup", "pointercancel"]) {
    node.addEventListener(name, () => {
      if (held) done();
      held = false;
    });
  }
}
scrub(ruler, (event) => timeAt(event, ruler));
scrub(overview, (event) => {
  const box = overview.getBoundingClientRect();
  return clamp((event.clientX - box.left) / box.width, 0, 1) * DURATION;
});

$("view").addEventListener("wheel", (event) => {
  event.preventDefault();
  const size = event.deltaMode === 1 ? 30 : 1;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    setView(view.start + ((event.deltaX || event.deltaY) * size * view.span) / lane.clientWidth, view.span);
  } else {
    zoom(Math.exp(clamp(event.deltaY * size, -200, 200) / 400), timeAt(event));
  }
}, { passive: false });

// Two fingers zoom and move. The first one began a drag or a scrub: that is given up.
const fingers = new Map();
let pinch = null;
$("view").addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch") return;
  fingers.set(event.pointerId, event.clientX);
  if (fingers.size !== 2) return;
  endDrag(false);
  const [a, b] = fingers.values();
  pinch = { span: view.span, apart: Math.max(Math.abs(a - b), 20), t: timeAt({ clientX: (a + b) / 2 }) };
}, { capture: true });
$("view").addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  fingers.set(event.pointerId, event.clientX);
  if (!pinch) return;
  event.stopPropagation();
  const [a, b] = fingers.values();
  const box = lane.getBoundingClientRect();
  const span = clamp((pinch.span * pinch.apart) / Math.max(Math.abs(a - b), 20), minSpan, DURATION);
  setView(pinch.t - (((a + b) / 2 - box.left) / box.width) * span, span);
}, { capture: true });
for (const name of ["pointerup", "pointercancel"]) {
  addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    if (fingers.size < 2) pinch = null;
  }, { capture: true });
}
new ResizeObserver(drawTimeline).observe(lane);
