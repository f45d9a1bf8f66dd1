// The list of segments: times as numbers, class, and what a model proposed.

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
  `Segment ${state.segments.indexOf(segment) + 1}: ${segment.label || "no class yet"}, from ${clock(segment.start)} to ${clock(segment.end)}${unchecked(segment) ? ", proposed by a model" : ""}`;

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
  if (task.prefill.length) {
    parts.keep = el("button", { class: "edit", "aria-keyshortcuts": "K", onclick: () => keep(find()) }, "Keep ", el("kbd", {}, "K"));
    parts.origin = el("div", { class: "origin" }, el("span"), parts.keep);
    item.append(parts.origin);
  }
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

// Only inside the list: the video must not scroll away.
function scrollToItem(item) {
  const [box, inside] = [$("found").getBoundingClientRect(), item.getBoundingClientRect()];
  $("found").scrollTop += Math.min(0, inside.top - box.top - 4) || Math.max(0, Math.min(inside.bottom - box.bottom + 8, inside.top - box.top - 4));
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
    if (on && !item.classList.contains("on")) requestAnimationFrame(() => scrollToItem(item));
    item.classList.toggle("on", on);
    item.setAttribute("aria-current", on);
    paint(item, segment.label);
    item.classList.toggle("proposed", unchecked(segment));
    if (parts.origin) {
      const from = origin(segment);
      parts.origin.hidden = from === "own";
      parts.keep.hidden = !unchecked(segment);
      parts.origin.firstChild.textContent = from === "corrected" ? "Proposed by a model, corrected by you"
        : segment.ok ? "Proposed by a model, kept by you" : "Proposed by a model: is it right?";
    }
    parts.pick.textContent = i + 1;
    parts.pick.setAttribute("aria-label", describe(segment));
    for (const edge of ["start", "end"]) {
      if (document.activeElement !== parts[edge]) parts[edge].value = clock(segment[edge]);
      parts[edge].setAttribute("aria-label", `${edge === "start" ? "Start" : "End"} of segment ${i + 1}`);
    }
    if (parts.keep) parts.keep.setAttribute("aria-label", `Keep segment ${i + 1} as proposed`);
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
