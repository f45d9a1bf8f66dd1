// Sending: once, with patience, and never losing the work.

const submitTo = address("turkSubmitTo");
// Seconds; a server that is back is found soon.
const waits = [1, 2, 3, 5];

// `origin` and `discarded` say what became of a model's proposals, so that their effect can be measured.
function answer(problem) {
  const round = (t) => Math.round(t * 100) / 100;
  const whole = {
    version: 1,
    segments: state.segments.map((segment) => ({ label: segment.label, start: segment.start, end: segment.end, origin: origin(segment) })),
    none: state.none,
    seconds_spent: round(spent),
    watched: watched.map(([a, b]) => [round(a), round(b)]).filter(([a, b]) => b > a),
    guideline: task.guideline,
    prefilled: proposals.length > 0,
    discarded: proposals.filter(({ from }) => state.segments.every((segment) => segment.from !== from)).length,
    events: counters,
  };
  if (problem) whole.problem = problem;
  return JSON.stringify(whole);
}

// What still keeps the answer from being sent, or null.
function missing() {
  if (state.pending !== null) return "A segment is still open: press A where it ends, or Esc to drop it.";
  const nameless = state.segments.find((segment) => segment.label === null);
  if (nameless) {
    select(nameless);
    return `Segment ${state.segments.indexOf(nameless) + 1} has no class yet.`;
  }
  const left = toCheck();
  if (left.length) {
    select(left[0]);
    return `Segment ${state.segments.indexOf(left[0]) + 1} is still a model's proposal: keep it (K), correct it, or delete it (Del).`;
  }
  if (!state.segments.length && !state.none) return `Mark at least one segment, or tick “${$("none-text").textContent}”.`;
  return null;
}

function showState(text, kind = "", ...actions) {
  $("state").replaceChildren(text, ...actions);
  $("state").className = kind;
}

function submit() {
  if (state.locked) return preview && readOnly();
  const reason = missing();
  if (reason) {
    showState(reason, "bad");
    return say(reason, "warn");
  }
  if (askedWatched || watchedShare() >= 0.5) return send(answer());
  askedWatched = true;
  video.pause();
  $("watch-text").textContent = `You have watched ${Math.floor(100 * watchedShare())} % of the video. What you did not watch may hold something to mark.`;
  $("watch-box").returnValue = "";
  $("watch-box").showModal();
}

// Who has seen little of the video is asked once.
let askedWatched = false;
$("watch-box").addEventListener("close", () => { if ($("watch-box").returnValue === "send") send(answer()); });

async function send(text) {
  if (state.locked) return;
  if (!submitTo) return showState("This page was opened without an address to send the answer to.", "bad");
  state.locked = true;
  state.sending = true;
  saveSoon(0);
  warnLeaving();
  video.pause();
  document.body.classList.add("sending");
  changed(false);
  const url = submitTo.replace(/[?#].*$/, "").replace(/\/+$/, "") + "/mturk/externalSubmit";
  const fields = { assignmentId, answer: text };
  for (let attempt = 0, blocked = 0; ; attempt++) {
    showState("Sending…", "busy");
    const outcome = await attemptOnce(url, fields);
    if (outcome.stored) return training && outcome.stored.status === "graded" ? graded(outcome.stored) : finished(fields);
    if (outcome !== "again" && outcome !== "unreadable") {
      state.locked = false;
      state.sending = false;
      warnLeaving();
      document.body.classList.remove("sending");
      changed();
      return showState(`The answer was not accepted: ${outcome} Your work is still here.`, "bad");
    }
    // The server answers, but three times we were not allowed to read it: only a real form can get through.
    if (outcome === "unreadable" && ++blocked >= 3) return post(url, fields);
    await pause(waits[Math.min(attempt, waits.length - 1)]);
  }
}

// { stored: the server's words }, "again", "unreadable" (the server is there, its answer is kept from this page), or the server's refusal.
async function attemptOnce(url, fields) {
  try {
    const reply = await fetch(url, {
      method: "POST", body: new URLSearchParams(fields), headers: { Accept: "application/json" }, signal: AbortSignal.timeout(30000),
    });
    if (reply.ok) return { stored: await reply.json().catch(() => ({})) };
    if (reply.status >= 500 || [408, 425, 429].includes(reply.status)) return "again";
    return await refusal(reply);
  } catch {
    try {
      await fetch(url, { mode: "no-cors", method: "HEAD", signal: AbortSignal.timeout(10000) });
      return "unreadable";
    } catch {
      return "again";
    }
  }
}

async function refusal(reply) {
  const text = (await reply.text()).slice(0, 4000);
  try {
    const said = JSON.parse(text);
    const message = said.message || said.error || said.detail;
    if (typeof message === "string") return message.slice(0, 300).replace(/([^.!?])$/, "$1.");
  } catch {
    // Not JSON: the status has to do.
  }
  return `the server said ${reply.status}.`;
}

function pause(seconds) {
  return new Promise((resolve) => {
    let left = seconds;
    const retry = el("button", { class: "quiet", onclick: () => end() }, "Try now");
    const show = () => showState(`Could not send. ${draftLost ? "Keep this page open" : "Your work is safe"}, trying again in ${left} s.`, "bad", retry);
    const timer = setInterval(() => (--left > 0 ? show() : end()), 1000);
    const end = () => {
      clearInterval(timer);
      removeEventListener("online", end);
      resolve();
    };
    addEventListener("online", end);
    show();
  });
}

function post(url, fields) {
  state.sending = false;
  warnLeaving();
  showState("Sending…", "busy");
  const form = el("form", { method: "post", action: url, hidden: true });
  for (const [name, value] of Object.entries(fields)) form.append(el("input", { type: "hidden", name, value }));
  document.body.append(form);
  form.submit();
}

function finished(fields) {
  const sent = JSON.parse(fields.answer);
  const n = sent.segments.length;
  conclude("kloc-submitted", "Thank you. Your answer has arrived.", sent.problem ? "Your report was received."
    : sent.none ? "You told us that the action does not occur in this video."
      : `You marked ${n} segment${n > 1 ? "s" : ""}.`);
}

// The last thing this page shows; whoever framed it is told.
function conclude(type, title, text) {
  state.locked = true;
  endDrafts();
  $("done-title").textContent = title;
  $("done-text").textContent = text;
  for (const node of document.querySelectorAll("header, main, #banner, #alert")) node.hidden = true;
  document.body.classList.remove("sending");
  for (const player of [video, scout].filter(Boolean)) {
    player.removeAttribute("src");
    player.load();
  }
  $("done").hidden = false;
  $("done").focus();
  $("live").textContent = title;
  window.parent.postMessage({ type, assignmentId }, "*");
}
