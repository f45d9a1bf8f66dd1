// Practice: after the answer is graded, what was good and what was not, in words and beside the worker's own marks.

const amount = (off) => `${Math.abs(off).toFixed(1)} s too ${off > 0 ? "late" : "early"}`;

// The server's feedback as sentences, in the order of the worker's own segments; what was missed comes last.
function sentences(feedback) {
  if (feedback.some(({ kind }) => kind === "many")) return ["You have marked far too many segments. Watch the whole video and mark only what happens in it."];
  const told = new Map();
  let missed = 0;
  for (const { kind, label, start, end, off } of feedback) {
    if (kind === "missed") {
      missed++;
      continue;
    }
    const at = state.segments.findIndex((s) => s.label === label && Math.abs(s.start - start) < FRAME && Math.abs(s.end - end) < FRAME);
    const words = kind === "good" ? "good" : kind === "extra" ? `${label} does not happen there`
      : kind === "start" ? `started ${amount(off)}` : `ended ${amount(off)}`;
    told.set(at, [...(told.get(at) || []), words]);
  }
  const lines = [...told].sort(([a], [b]) => a - b).map(([at, words]) => `Segment ${at + 1}: ${words.join(", ")}.`);
  if (missed) lines.push(`You missed ${missed} more. Where it happens is not told: watch the whole video.`);
  return lines;
}

function graded({ score, needed, passed, feedback, gold, again_at }) {
  document.body.classList.remove("sending");
  endDrafts();
  $("finish").hidden = true;
  $("result").hidden = false;
  $("result-title").textContent = passed ? "Passed" : "Not yet";
  $("score").textContent = `Your score is ${score} of 100; ${needed} are needed.`;
  if (passed && gold) {
    $("score").append(" The correct marks are below yours on the timeline.");
    for (const segment of segmentsFrom(gold)) {
      const bar = $("gold").appendChild(el("i", { title: `Correct: ${segment.label}, ${clock(segment.start)} to ${clock(segment.end)}` }));
      paint(bar, segment.label);
      Object.assign(bar.dataset, segment);
    }
    $("gold").hidden = false;
  }
  $("feedback").replaceChildren(...sentences(feedback).map((line) => el("li", {}, line)));
  $("again").textContent = passed ? "Go on" : "Try again";
  if (!passed) waitUntil((again_at || 0) * 1000);
  for (const id of ["banner", "saved"]) $(id).hidden = true;
  changed(false);
  $("result").focus();
  window.parent.postMessage({ type: "kloc-graded", assignmentId, passed, score, again_at }, "*");
}

// The way to the next try opens by itself; a wait of many days outlives this page.
function waitUntil(time) {
  const wait = time - Date.now();
  const then = new Date(time);
  $("again").hidden = wait > 0;
  $("again-at").textContent = wait > 0 ? `You can try again at ${wait > 72e6 ? then.toLocaleString() : then.toLocaleTimeString()}.` : "";
  if (wait > 0) setTimeout(waitUntil, Math.min(wait + 500, 1e9), time);
}

function drawGold() {
  for (const bar of $("gold").children) {
    bar.style.left = pct(inView(Number(bar.dataset.start)));
    bar.style.width = pct((bar.dataset.end - bar.dataset.start) / view.span);
  }
}

// Whoever framed the page knows where to go from here.
$("again").addEventListener("click", () => window.parent.postMessage({ type: "kloc-again", assignmentId }, "*"));
