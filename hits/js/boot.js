// Unpacks the page's markup, style sheet and script. They travel deflated, because a HIT's question holds 65,535 bytes.
const packed = Uint8Array.from(atob(document.getElementById("kloc-app").textContent), (c) => c.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
const { html, css, script } = await new Response(unpacked).json();
document.getElementById("page").innerHTML = html;
for (const [tag, text] of [["style", css], ["script", script]]) {
  const node = document.createElement(tag);
  if (tag === "script") node.type = "module";
  node.textContent = text;
  document.head.append(node);
}
