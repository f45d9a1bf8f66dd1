// What all modules share: elements, sentences, the server, the geometry of time. Times are video seconds.

export const $ = (id) => document.getElementById(id);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Text only ever enters the document as text nodes and attributes, never as markup.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== false));
  return node;
}

// One sentence, seen over the video and heard by a screen reader.
let toastTimer = 0;
export function say(text, warn = false) {
  const toast = $("toast");
  $("live").textContent = text;
  toast.textContent = text;
  toast.className = warn ? "warn" : "";
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, warn ? 7000 : 2600);
}

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// Asks our server; throws Refused with a sentence for people.
export async function ask(path, body) {
  const init = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Refused("The review server does not answer: is `kloc review` still running? Nothing was sent.", 0);
  }
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({}));
  throw new Refused(said.error || `The server answered ${response.status}.`, response.status);
}

// 83.4 is "1:23.40".
export function clock(t, digits = 2) {
  const unit = 10 ** digits;
  const ticks = Math.round(Math.abs(t) * unit);
  const whole = Math.floor(ticks / unit);
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  const text = (t < 0 ? "-" : "") + parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
  return digits ? `${text}.${String(ticks % unit).padStart(digits, "0")}` : text;
}

// "1:23.4", "83.4" and "83,4" are 83.4; anything else is NaN.
export function seconds(text) {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || parts.some((part) => !/^\d+(\.\d*)?$|^\.\d+$/.test(part))) return NaN;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

// A calm hue for each class; neighbours differ.
export const classes = [];
export function paint(node, label) {
  node.style.setProperty("--h", (185 + Math.max(classes.indexOf(label), 0) * 137.5) % 360);
}
export const percent = (value) => `${Math.round(value * 100)} %`;
