// The frames on both sides of the chosen segment's edges. They come from a second, silent video, so that the one
// being watched stays where it is; where they cannot be had there are none.

const SIDES = ["before", "first", "last", "after"];
let scout = null;
let edgesFor = "";
let edgeTimer = 0;
const pictures = SIDES.map((side, i) => {
  const canvas = el("canvas", { width: 240, height: 135 });
  const time = el("span");
  const show = () => chosen() && seekFrame(edgeFrames(chosen())[i]);
  return { canvas, time, button: el("button", { class: "edge " + side, onclick: show }, canvas, time) };
});
const edges = el("div", { class: "edges", hidden: true }, ...pictures.map(({ button }) => button));

const edgeFrames = ({ start, end }) => [frameAt(start) - 1, frameAt(start), lastIn(end), lastIn(end) + 1];

function drawEdges() {
  const segment = chosen();
  if (!segment || broken) {
    edges.remove();
    edgesFor = "";
    return;
  }
  const { item } = items.get(segment.id);
  if (edges.parentNode !== item) item.append(edges);
  const key = [segment.start, segment.end].join();
  if (key === edgesFor) return;
  edgesFor = key;
  const frames = edgeFrames(segment);
  for (const [i, { button, time }] of pictures.entries()) {
    button.style.visibility = frames[i] < 0 || frames[i] > LAST ? "hidden" : "";
    time.textContent = `${SIDES[i]} ${clock(startOf(clamp(frames[i], 0, LAST)))}`;
  }
  clearTimeout(edgeTimer);
  edgeTimer = setTimeout(() => grabEdges(key, frames, item), 150);
}

async function grabEdges(key, frames, item) {
  if (!scout) {
    if (!video.currentSrc) return;
    scout = el("video", { muted: true, playsinline: true, preload: "auto", src: video.currentSrc });
    scout.muted = true;
  }
  for (const [i, { canvas }] of pictures.entries()) {
    if (frames[i] < 0 || frames[i] > LAST) continue;
    const there = await scoutTo(middle(frames[i]));
    if (key !== edgesFor) return;
    if (!there) {
      edges.hidden = true;
      scout = null;
      return;
    }
    // Drawing another origin's video is allowed; only reading its pixels back is not, and nothing here does.
    canvas.height = Math.round((canvas.width * scout.videoHeight) / scout.videoWidth);
    canvas.getContext("2d").drawImage(scout, 0, 0, canvas.width, canvas.height);
    if (edges.hidden) {
      edges.hidden = false;
      scrollToItem(item);
    }
  }
}

// True once the scout shows the frame at t; false (and no pictures) where it cannot.
function scoutTo(t) {
  return new Promise((resolve) => {
    const done = (ok) => () => {
      clearTimeout(late);
      for (const name of ["seeked", "error", "loadeddata"]) scout["on" + name] = null;
      resolve(ok && Math.abs(scout.currentTime - t) < FRAME / 2);
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
