// The right side: the requester's segments as exact times, the chosen answer, reports.

import { $, ask, classes, clock, el, paint, say, seconds } from "./base.js";
import * as work from "./edit.js";
import { seek } from "./player.js";
import { KINDS, qualityWords, SIGNS, SOURCES } from "./words.js";

const { state } = work;
let after = async () => {};
// What to do once a verdict or a note has reached the server: look again.
export const onDone = (again) => { after = again; };

function timeField(segment, name, i) {
  const field = el("input", { class: "time", value: clock(segment[name], 3), inputmode: "decimal", "aria-label": `${name} of segment ${i + 1}`, "data-field": `${i}-${name}` });
  field.addEventListener("change", () => {
    const t = seconds(field.value);
    if (field.value === clock(segment[name], 3)) return;
    if (Number.isNaN(t)) {
      say("Times are like 1:23.456 or 83.456.", true);
      field.value = clock(segment[name], 3);
    } else if (t < state.item.start || t > state.item.end) {
      say(`The video runs from ${clock(state.item.start)} to ${clock(state.item.end)}. The segment stays as it was.`, true);
      field.value = clock(segment[name], 3);
    } else if (!work.setTimes(segment, name === "start" ? t : segment.start, name === "end" ? t : segment.end)) {
      field.value = clock(segment[name], 3);
    } else seek(segment[name]);
  });
  field.addEventListener("focus", () => { if (state.selected !== segment.id) work.select(segment); });
  return field;
}

function row(segment, i) {
  const choice = el("select", { "aria-label": `Class of segment ${i + 1}`, "data-field": `${i}-class` },
    ...classes.map((name) => el("option", { value: name, selected: name === segment.label }, name)));
  choice.addEventListener("change", () => work.edit(() => { segment.label = choice.value; }));
  const number = el("button", { class: "pick", "aria-label": `Go to segment ${i + 1}`, "data-field": `${i}-pick`, onclick: () => { work.select(segment); seek(segment.start); } }, i + 1);
  const node = el("li", { class: segment.id === state.selected ? "on" : "" },
    number, timeField(segment, "start", i), el("span", { "aria-hidden": "true" }, "–"), timeField(segment, "end", i),
    el("button", { class: "icon", "aria-label": `Delete segment ${i + 1}`, "data-field": `${i}-delete`, onclick: () => work.remove(segment) }, "×"), choice);
  paint(node, segment.label);
  return node;
}

function drawMine() {
  const { item } = state;
  $("source").textContent = work.dirty() ? "not saved" : item.source === null ? "the crowd so far" : SOURCES[item.source];
  $("source").className = `chip ${work.dirty() ? "warn" : item.source === "review" ? "good" : ""}`;
  $("none").setAttribute("aria-checked", String(state.none));
  const field = document.activeElement?.dataset?.field;
  $("segments").replaceChildren(...state.segments.map(row));
  if (field) document.querySelector(`[data-field="${CSS.escape(field)}"]`)?.focus();
  if (!state.segments.length && !state.none) $("segments").append(el("li", { class: "soft" }, "Nothing is marked. A adds a segment at the playhead."));
}

function verdictWords(a) {
  const told = a.verdict && a.verdict.reason ? `: ${a.verdict.reason}` : "";
  const by = a.verdict ? { person: "by you", policy: "by the policy", endpoint: "at the endpoint" }[a.verdict.by] : "";
  return `${a.status}${by && a.status !== "Submitted" ? ` ${by}` : ""}${a.status === "Submitted" ? "" : told}`;
}

function drawAnswer() {
  const box = $("answer");
  const a = state.item.answers.find((other) => other.id === state.answer);
  box.hidden = !a;
  if (!a) return;
  const facts = [
    ["Worker", a.worker],
    ["Status", verdictWords(a)],
    ...(a.purpose === "gold" ? [["Kind", "a gold video: it judges the worker"]] : []),
    ...(a.seconds_spent === null ? [] : [["Spent", clock(a.seconds_spent, 0)]]),
    ...(a.prefilled ? [["Proposals", prefillWords(a)]] : []),
    ...(a.signs.length ? [["Signs", a.signs.map((s) => SIGNS[s] || s).join("; ")]] : []),
  ];
  const focused = document.activeElement?.dataset?.act;
  const button = (act, text, run, more = {}) => el("button", { "data-act": act, onclick: run, ...more }, text);
  box.replaceChildren(
    el("div", { class: "bar-head" }, el("h2", { id: "answer-title" }, `Answer of ${a.worker}`),
      button("close", "×", () => { state.answer = null; work.changed(); }, { class: "icon", "aria-label": "Close the answer" })),
    a.problem ? el("p", { class: "trouble" }, el("bdi", {}, a.problem)) : "",
    el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, el("bdi", {}, value))])),
    el("p", { class: "soft" }, qualityWords(a)),
    el("div", { class: "bar-acts" },
      !a.problem && button("take", "Take over (T)", () => takeOver()),
      button("approve", "Approve", () => verdict(a, "approve"), { disabled: a.status === "Approved" }),
      button("reject", "Reject", () => verdict(a, "reject"), { disabled: a.status !== "Submitted" }),
      button("write", "Write", () => letter(a)),
      button("raw", "As it came", () => raw(a))),
  );
  if (focused) box.querySelector(`[data-act=${focused}]`)?.focus();
}

function prefillWords(a) {
  const count = (origin) => a.segments.filter((s) => s.origin === origin).length;
  const parts = [[count("kept"), "kept"], [count("corrected"), "corrected"], [a.discarded || 0, "deleted"], [count("own"), "added"]];
  return parts.filter(([n]) => n).map(([n, word]) => `${n} ${word}`).join(", ") || "shown";
}

// The chosen answer becomes the requester's own version.
export function takeOver() {
  const a = state.item && state.item.answers.find((other) => other.id === state.answer);
  if (!a || a.problem) return say("Choose a readable answer first (J, K).");
  work.replace([a.segments.map(({ label, start, end }) => ({ label, start, end })), a.none]);
  say(`Yours is now as ${a.worker} marked it. Ctrl+Z brings the other back.`);
}

function drawReports() {
  const { reports } = state.item;
  $("told").hidden = !reports.length;
  if (!reports.length) return;
  const open = reports.some((report) => !report.handled);
  $("told").replaceChildren(
    el("div", { class: "bar-head" }, el("h2", {}, "Reported"),
      open && el("button", { onclick: () => act(() => ask(`handle/${state.item.key}`, {}), "Noted.") }, "Seen to it")),
    ...reports.map((r) => el("p", { class: r.handled ? "soft" : "" }, el("b", {}, KINDS[r.kind] || r.kind), r.text ? ": " : "", el("bdi", {}, r.text),
      el("small", {}, ` (${r.worker})`))),
  );
}

export function drawSide() {
  if (!state.item) return;
  drawMine();
  drawAnswer();
  drawReports();
}

async function act(run, words) {
  try {
    await run();
  } catch (error) {
    say(error.message, true);
    return;
  }
  say(words);
  await after();
}

// -- dialogs

let sending = null;
function form(title, label, send, run, subject = false) {
  $("say-title").textContent = title;
  $("say-label").textContent = label;
  $("say-send").textContent = send;
  $("subject-row").hidden = !subject;
  for (const id of ["subject", "text"]) $(id).value = "";
  $("say-error").textContent = "";
  sending = run;
  $("say-box").showModal();
  $(subject ? "subject" : "text").focus();
}
$("say-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("say-send").disabled) return;
  $("say-send").disabled = true;
  try {
    await sending($("text").value, $("subject").value);
    $("say-box").close();
    await after();
  } catch (error) {
    $("say-error").textContent = error.message;
  } finally {
    $("say-send").disabled = false;
  }
});

function verdict(a, decision) {
  const reject = decision === "reject";
  const run = async (text) => {
    const { status } = await ask(`decide/${a.id}`, { decision, reason: text });
    if (status === (reject ? "Rejected" : "Approved")) say(reject ? "Rejected; the worker reads why." : "Approved.");
    else say(`Not done: the answer was ${status.toLowerCase()} meanwhile.`, true);
  };
  form(reject ? `Reject the answer of ${a.worker}` : `Approve the answer of ${a.worker}`,
    reject ? "Why? The worker reads this." : "A word to the worker (may stay empty)", reject ? "Reject" : "Approve", run);
}

function letter(a) {
  const run = async (text, subject) => {
    await ask(`write/${a.id}`, { subject, text });
    say("Sent.");
  };
  form(`Write to ${a.worker}`, "Message", "Send", run, true);
}

const RAW_SHOWN = 20000;
async function raw(a) {
  $("raw").textContent = "…";
  $("raw").setAttribute("aria-busy", "true");
  $("raw-all").href = `raw/${a.id}`;
  $("raw-box").showModal();
  try {
    const response = await fetch(`raw/${a.id}`);
    const text = await response.text();
    $("raw").textContent = text.length > RAW_SHOWN ? `${text.slice(0, RAW_SHOWN)}\n… (${text.length} characters in all)` : text || "(empty)";
  } catch {
    $("raw").textContent = "The review server does not answer.";
  }
  $("raw").setAttribute("aria-busy", "false");
}
