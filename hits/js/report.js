// "Report a problem": the task goes back without penalty, after the worker has read what that means.

const reportUrl = preview ? null : address("reportUrl");

function openReport() {
  if (readOnly()) return;
  video.pause();
  $("report-state").textContent = "";
  $("report-box").showModal();
}

function wordsNeeded() {
  const other = $("report-form").elements.kind.value === "other";
  $("problem").required = other;
  $("optional").hidden = other;
}

async function report() {
  const problem = { kind: $("report-form").elements.kind.value, text: $("problem").value.trim() };
  if (!reportUrl) {
    $("report-box").close();
    return send(answer(problem));
  }
  $("report-send").disabled = true;
  $("report-state").textContent = "Sending…";
  let reason = "the server could not be reached.";
  try {
    const reply = await fetch(reportUrl, {
      method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(problem),
      signal: AbortSignal.timeout(30000),
    });
    reason = reply.ok ? null : await refusal(reply);
  } catch {
    // The reason stands.
  }
  $("report-send").disabled = false;
  if (reason) {
    $("report-state").textContent = `Your report was not sent: ${reason} Please try again.`;
    return;
  }
  $("report-box").close();
  conclude("kloc-returned", "Thank you. The task is given back.", "Your report was received. You lose nothing by it.");
}

if (!reportUrl) {
  $("report-means").textContent = "Your report is sent in place of an answer. What you have marked does not count, so do this only if you cannot finish the task.";
  $("report-send").textContent = "Send report";
}
$("report").addEventListener("click", openReport);
$("report-cancel").addEventListener("click", () => $("report-box").close());
$("report-form").addEventListener("change", wordsNeeded);
$("report-form").addEventListener("submit", (event) => {
  event.preventDefault();
  report();
});
