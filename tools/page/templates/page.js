"use strict";
const [form, chosen, texts, said, details, drop, frame, image, drawing, tag, weights, region, weight] =
  ["ask", "pictures", "texts", "said", "details", "drop", "picture", "image", "regions", "tag", "weights", "region", "weight"]
    .map(id => document.getElementById(id));
const { mostBytes, mostPictures, mostTexts, share } = form.dataset, several = "several" in form.dataset;
const asker = form.querySelector("button");
let pictures = [], addresses = [], told = null, shown = null, byWeight = [], asking = false;

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function rectangle([left, top, right, bottom], attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const all = { x: left, y: top, width: right - left, height: bottom - top, ...attributes };
  for (const [key, value] of Object.entries(all)) made.setAttribute(key, value);
  return made;
}
const say = (...lines) => said.replaceChildren(...lines);
const complain = text => say(make("p", { class: "warning" }, text));
const signed = score => (score < 0 ? "−" : "+") + Math.abs(score).toFixed(2);

function take(files) {
  const own = [...files];
  const bytes = own.reduce((sum, file) => sum + file.size, 0);
  if (!own.length) return;
  forget();
  pictures = [];
  if (own.length > mostPictures) return complain(`${own.length} pictures; at most ${mostPictures} at once.`);
  if (bytes > mostBytes - 200000) return complain(`${Math.ceil(bytes / 1e6)} MB of pictures; at most ${Math.floor(mostBytes / 1e6)} MB at once.`);
  if (!bytes) return complain("The file is empty.");
  pictures = own;
  addresses.forEach(URL.revokeObjectURL);
  addresses = own.map(file => URL.createObjectURL(file));
  look(0);
}
function forget() {
  told = shown = null;
  byWeight = [];
  say();
  details.replaceChildren();
  drawing.replaceChildren();
  weights.hidden = tag.hidden = true;
}
function look(place) {
  drop.hidden = true;
  frame.hidden = image.hidden = false;
  image.alt = pictures[place].name;
  if (image.getAttribute("src") !== addresses[place]) image.src = addresses[place];
}
function shape(width, height) {
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.maxWidth = `calc(75vh * ${width / height})`;
}
image.addEventListener("load", () => { if (!shown) shape(image.naturalWidth, image.naturalHeight); });
image.addEventListener("error", () => { image.hidden = true; });  // a kind that the network reads and the browser does not

async function ask() {
  const lines = (several ? texts.value.split("\n") : [texts.value]).map(line => line.trim()).filter(Boolean);
  if (asking) return;
  if (!pictures.length) return complain("Choose a picture first.");
  if (!lines.length || lines.length > mostTexts) return complain(`${lines.length} texts; 1 to ${mostTexts} at once.`);
  const own = pictures;
  const head = { texts: lines, pictures: own.map(file => ({ name: file.name, bytes: file.size })) };
  asking = true;
  asker.setAttribute("aria-disabled", "true");
  forget();
  say(make("p", {}, "reading …"));
  try {
    const body = new Blob([JSON.stringify(head), "\n", ...own]);
    const reply = await fetch("predict", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
    const answer = await reply.json();
    if (own !== pictures) return;
    if (reply.ok) tell(answer, lines);
    else complain(answer.error);
  } catch {
    complain("The program does not answer. Was it ended in its terminal, or the file changed?");
  } finally {
    asking = false;
    asker.removeAttribute("aria-disabled");
  }
}

function tell(answer, lines) {
  told = answer;
  const best = told.rankings.length ? told.rankings[0][0] : 0;
  say(head(told.predictions[best], lines), ...remarks());
  details.replaceChildren(...(told.rankings.length ? told.rankings.map(own => ranking(own, lines)) : [answers(told.predictions[best])].filter(Boolean)));
  show(best);
}
function head(one, lines) {
  const number = text => make("small", {}, text);
  if (one.answers) return make("p", { class: "head" }, one.answers[0].answer, number(`probability ${one.answers[0].probability.toFixed(2)}`));
  if (one.box) {
    const [left, top, right, bottom] = one.box.map(Math.round);
    return make("p", { class: "head" }, "The orange box", number(`probability ${one.probability.toFixed(2)}, from ${left}, ${top} to ${right}, ${bottom}`));
  }
  if (one.score === undefined) return make("p", {}, "It says nothing.");
  const what = lines.length > 1 || pictures.length < 2 ? lines[one.text] : pictures[one.picture].name;
  return make("p", { class: "head" }, what, number(`${told.rankings[0].length > 1 ? "best match, " : ""}score ${signed(one.score)}`));
}
function remarks() {
  const found = Object.values(told.refused).map(why => make("p", { class: "warning" }, why));
  const unknown = [...new Set(told.readings.flatMap(one => one.unknown))];
  if (unknown.length) found.push(make("p", { class: "remark" }, `Note: the network was not trained on ${unknown.join(", ")}.`));
  for (const { read, unread } of told.readings)
    if (unread.length) found.push(make("p", { class: "remark" }, `Note: it reads ${read} words at most, so not “${unread.join(" ")}”.`));
  return found;
}
function answers(one) {
  if (!one.answers) return null;
  const rows = one.answers.map(({ answer, probability }) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${6 * probability}rem`;
    return make("tr", {}, make("td", { class: "name" }, answer), make("td", { class: "room" }, bar),
      make("td", { class: "number" }, probability.toFixed(2)));
  });
  return make("table", {}, make("caption", {}, "Answers and their probabilities"), make("tbody", {}, ...rows));
}
function ranking(own, lines) {
  const ofText = lines.length === 1 && pictures.length > 1, first = told.predictions[own[0]];
  const rows = own.map((place, rank) => {
    const one = told.predictions[place];
    const name = make("button", { type: "button" }, ofText ? pictures[one.picture].name : lines[one.text]);
    name.addEventListener("click", () => show(place));
    const picture = ofText ? [make("td", {}, make("img", { src: addresses[one.picture], alt: "" }))] : [];
    return make("tr", { "data-place": place }, make("td", { class: "number" }, `${rank + 1}`), ...picture,
      make("td", { class: "name" }, name), make("td", { class: "number" }, signed(one.score)));
  });
  const title = ofText ? "Pictures" : pictures.length > 1 ? `Texts for ${pictures[first.picture].name}` : "Texts";
  return make("table", {}, make("caption", {}, `${title}, the best match first`), make("tbody", {}, ...rows));
}

function show(place) {
  shown = told.predictions[place];
  for (const row of details.querySelectorAll("[data-place]")) row.classList.toggle("shown", +row.dataset.place === place);
  for (const row of details.querySelectorAll("[data-place] button")) row.setAttribute("aria-pressed", +row.closest("tr").dataset.place === place);
  look(shown.picture);
  shape(...shown.size);
  drawing.setAttribute("viewBox", `0 0 ${shown.size.join(" ")}`);
  byWeight = [...shown.regions].sort((one, other) => other.weight - one.weight);
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  const order = byWeight.map((one, rank) => [one, rank]).sort(([one], [other]) => area(other) - area(one));  // small ones on top
  const even = byWeight.reduce((sum, one) => sum + one.weight, 0) / byWeight.length;
  const colour = ({ weight }) => Math.min(0.5, Math.max(0, weight / even - 1) / 6);  // none where all weigh the same
  const found = shown.box ? [rectangle(shown.box, { class: "found-around" }), rectangle(shown.box, { class: "found" })] : [];
  drawing.replaceChildren(...order.map(([one, rank]) =>
    rectangle(one.box, { "data-rank": rank, "fill-opacity": colour(one), "stroke-opacity": 0.15 + 0.6 * one.weight })), ...found);
  drawing.setAttribute("aria-label", `${byWeight.length} regions over the picture${shown.box ? ", and the box that was found" : ""}`);
  region.max = byWeight.length;
  weights.hidden = tag.hidden = !byWeight.length;
  if (byWeight.length) point(0);
}
function point(rank) {
  const { box, probability, weight: relative } = byWeight[rank];
  drawing.querySelectorAll(".current").forEach(one => one.remove());
  const current = [rectangle(box, { class: "current around" }), rectangle(box, { class: "current" })];
  const found = drawing.querySelector(".found-around");
  for (const one of current) drawing.insertBefore(one, found);
  const number = (probability ?? relative).toFixed(3);
  region.value = rank + 1;
  weight.value = `region ${rank + 1} of ${byWeight.length}: ${share} ${number}`;
  region.setAttribute("aria-valuetext", weight.value);
  tag.textContent = number;
  const [width, height] = shown.size;
  const right = box[0] > width / 2;
  tag.style.left = right ? "auto" : `${100 * box[0] / width}%`;
  tag.style.right = right ? `${100 * (1 - box[2] / width)}%` : "auto";
  tag.style.top = `${100 * box[1] / height}%`;
  tag.classList.toggle("above", box[1] > height / 10);
}

form.addEventListener("submit", event => { event.preventDefault(); ask(); });
chosen.addEventListener("change", () => take(chosen.files));
region.addEventListener("input", () => point(region.value - 1));
for (const kind of ["pointerover", "click"])
  drawing.addEventListener(kind, event => { if (event.target.dataset.rank) point(+event.target.dataset.rank); });
const files = event => event.dataTransfer.types.includes("Files");  // and no text that is moved
document.addEventListener("dragover", event => {
  if (!files(event)) return;
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", event => { if (!event.relatedTarget) document.body.classList.remove("over"); });
document.addEventListener("drop", event => {
  if (!files(event)) return;
  event.preventDefault();
  document.body.classList.remove("over");
  const own = new DataTransfer();
  for (const file of [...event.dataTransfer.files].slice(0, several ? Infinity : 1)) own.items.add(file);
  chosen.files = own.files;
  take(own.files);
});
