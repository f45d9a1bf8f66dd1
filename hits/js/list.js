// The list of segments: times as numbers, class, and the frames at both edges of the chosen one.

const list = $("list");
const items = new Map();

function select(segment, go = true) {
  state.selected = segment ? segment.id : null;
  if (!segment) state.loop = false;
  if (segment && go) {
    revealSegment(segment);
    seekFrame(frameAt(segment.start));
  }
  changed(false);
}

function neighbour(direction) {
  const all = state.segments;
  if (!all.length) return say("There is no segment yet.");
  const at = all.indexOf(chosen());
  const t = startOf(shown());
  let next = at + direction;
  if (at < 0) {
    next = direction > 0 ? all.findIndex((s) => s.start >= t) : all.findLastIndex((s) => s.start < t);
    if (next < 0) next = direction > 0 ? 0 : all.length - 1;
  }
  const segment = all[(next + all.length) % all.length];
  select(segment);
  $("live").textContent = describe(segment);
}

const describe = (segment) =>
  `Segment ${state.segments.indexOf(segment) + 1}: ${segment.label || "no class yet"}, from ${clock(segment.start)} to ${clock(segment.end)}`;

// A field for one edge. The text is the time; typing 83.4 or 1:23.4 sets it, arrows move it by a frame.
function timeField(id, edge) {
  const find = () => state.segments.find((segment) => segment.id === id);
  const write = (value) => {
    const segment = find();
    if (!segment) return;
    if (setTimes(segment, edge === "start" ? value : segment.start, edge === "end" ? value : segment.end)) {
      seekFrame(edge === "start" ? frameAt(segment.start) : lastIn(segment.end));
    }
  };
  const field = el("input", {
    class: "time " + edge, type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", disabled: preview,
    onfocus: () => { field.select(); },
    onchange: () => {
      const segment = find();
      const value = seconds(field.value);
      if (Number.isNaN(value)) say("Type a time such as 12.5 or 1:02.5.", "warn");
      else if (field.value !== clock(segment[edge])) write(value);
      field.value = clock(segment[edge]);
    },
    onkeydown: (event) => {
      const direction = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (direction) {
        event.preventDefault();
        write(find()[edge] + direction * (event.shiftKey ? 1 : FRAME));
        field.value = clock(find()[edge]);
      } else if (event.key === "Enter" || event.key === "Escape") {
        if (event.key === "Escape") field.value = clock(find()[edge]);
        field.blur();
      }
      event.stopPropagation();
    },
  });
  return field;
}

function makeItem(id) {
  const find = () => state.segments.find((segment) => segment.id === id);
  const parts = {
    pick: el("button", { class: "pick", onclick: () => select(find()) }),
    start: timeField(id, "start"),
    end: timeField(id, "end"),
    length: el("span", { class: "length" }),
    loop: el("button", { class: "icon", "aria-pressed": "false", title: "Play in a loop (L)", onclick: () => {
      if (state.selected !== id) select(find());
      loop();
    } }, icon("loop")),
    bin: el("button", { class: "icon edit", title: "Delete (Del)", onclick: () => remove(find()) }, icon("bin")),
  };
  const row = el("div", { class: "row" }, parts.pick, parts.start, el("span", { class: "dash" }, "–"), parts.end, parts.length, parts.loop, parts.bin);
  const item = el("li", {}, row);
  if (several) {
    parts.label = el("select", { class: "label", disabled: preview, onchange: () => {
      select(find(), false);
      chooseClass(Number(parts.label.value));
    } }, el("option", { value: "", disabled: true }, "Choose a class…"), ...names.map((name, i) => el("option", { value: i }, name)));
    item.append(parts.label);
  }
  item.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("button, input, select") || event.target.closest("input")) select(find(), state.selected !== id);
  });
  items.set(id, { item, parts });
  return items.get(id);
}

function drawList() {
  for (const [id, { item }] of items) {
    if (state.segments.some((segment) => segment.id === id)) continue;
    item.remove();
    items.delete(id);
  }
  state.segments.forEach((segment, i) => {
    const { item, parts } = items.get(segment.id) || makeItem(segment.id);
    const on = segment.id === state.selected;
    if (list.children[i] !== item) list.insertBefore(item, list.children[i] || null);
    if (on && !item.classList.contains("on")) requestAnimationFrame(() => item.scrollIntoView({ block: "nearest" }));
    item.classList.toggle("on", on);
    item.setAttribute("aria-current", on);
    paint(item, segment.label);
    parts.pick.textContent = i + 1;
    parts.pick.setAttribute("aria-label", describe(segment));
    for (const edge of ["start", "end"]) {
      if (document.activeElement !== parts[edge]) parts[edge].value = clock(segment[edge]);
      parts[edge].setAttribute("aria-label", `${edge === "start" ? "Start" : "End"} of segment ${i + 1}`);
    }
    parts.length.textContent = (segment.end - segment.start).toFixed(1) + " s";
    parts.loop.setAttribute("aria-pressed", on && state.loop);
    parts.loop.setAttribute("aria-label", `Loop segment ${i + 1}`);
    parts.bin.setAttribute("aria-label", `Delete segment ${i + 1}`);
    if (parts.label) {
      parts.label.value = segment.label === null ? "" : names.indexOf(segment.label);
      parts.label.setAttribute("aria-label", `Class of segment ${i + 1}`);
    }
  });
  const n = state.segments.length;
  $("found-title").textContent = n ? `${n} segment${n > 1 ? "s" : ""}` : state.none ? "Nothing to mark" : "No segments yet";
  $("hint").hidden = n > 0 || state.none;
  $("nothing").hidden = !state.none;
  drawEdges();
}

// The frames at both edges come from a second, silent video, so that the one being watched stays where it is.
let scout = null;
let edgesFor = "";
let edgeTimer = 0;
const canvases = [0, 1].map(() => el("canvas", { width: 240, height: 135 }));
const captions = [0, 1].map(() => el("figcaption"));
const edges = el("div", { class: "edges", hidden: true }, ...canvases.map((canvas, i) =>
  el("figure", { onclick: () => chosen() && seekFrame(i ? lastIn(chosen().end) : frameAt(chosen().start)) }, canvas, captions[i])));

function drawEdges() {
  const segment = chosen();
  if (!segment || broken) {
    edges.remove();
    edgesFor = "";
    return;
  }
  const { item } = items.get(segment.id);
  if (edges.parentNode !== item) item.append(edges);
  captions[0].textContent = "First frame " + clock(segment.start);
  captions[1].textContent = "Last frame " + clock(startOf(lastIn(segment.end)));
  const key = [segment.start, segment.end].join();
  if (key === edgesFor) return;
  edgesFor = key;
  clearTimeout(edgeTimer);
  edgeTimer = setTimeout(() => grabEdges(key, [frameAt(segment.start), lastIn(segment.end)]), 150);
}

async function grabEdges(key, frames) {
  if (!scout) {
    if (!video.currentSrc) return;
    scout = el("video", { muted: true, playsinline: true, preload: "auto", src: video.currentSrc });
    scout.muted = true;
  }
  for (const [i, frame] of frames.entries()) {
    if (!(await scoutTo(middle(frame))) || key !== edgesFor) return;
    // Drawing another origin's video is allowed; only reading its pixels back is not, and nothing here does.
    const canvas = canvases[i];
    canvas.height = Math.round((canvas.width * scout.videoHeight) / scout.videoWidth);
    canvas.getContext("2d").drawImage(scout, 0, 0, canvas.width, canvas.height);
    edges.hidden = false;
  }
}

// True once the scout shows the frame at t; false (and no pictures) where it cannot.
function scoutTo(t) {
  return new Promise((resolve) => {
    const done = (ok) => () => {
      clearTimeout(late);
      for (const name of ["seeked", "error", "loadeddata"]) scout["on" + name] = null;
      resolve(ok);
    };
    const late = setTimeout(done(false), 8000);
    scout.onerror = done(false);
    scout.onseeked = done(true);
    const go = () => {
      if (Math.abs(scout.currentTime - t) < 1e-4) done(true)();
      else scout.currentTime = t;
    };
    if (scout.readyState >= 2) go();
    else scout.onloadeddata = go;
  });
}
