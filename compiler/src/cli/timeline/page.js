"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
// A row of numbers per bar or mark, in this order.
const WIDTH = 10, START = 0, TIME = 1, KIND = 2, LAYER = 3, WORDS = 4, NUMBER = 5, PHASE = 6, BYTES = 7, QUEUED = 8, RUN = 9;
const MESSAGE = 3, WIRE = 4, QUEUED_SEND = 5;
const view = { from: 0, to: 1 };
const lanes = [];
const axis = document.querySelector(".axis canvas");

function add(parent, tag, text, attributes = {}) {
  const node = parent.appendChild(document.createElement(tag));
  if (text) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function time(us) {
  if (us === undefined) return "–";
  const size = Math.abs(us);
  if (size < 1000) return us.toFixed(1) + " µs";
  return size < 1e6 ? (us / 1e3).toFixed(3) + " ms" : (us / 1e6).toFixed(3) + " s";
}

function bytes(count) {
  if (count < 1e4) return count + " B";
  return count < 1e6 ? (count / 1e3).toFixed(1) + " kB" : (count / 1e6).toFixed(1) + " MB";
}

function windowsOf(source) {
  return data.windows.filter(w => w.source === source);
}

const main = data.measured ? "measured" : "predicted";

// The page around the lanes.

function build() {
  const what = ["measured", "predicted"].filter(source => data[source]).join(" and ");
  document.title = `${data.model}: ${what} timeline`;
  document.body.classList.toggle("both", data.measured && data.predicted);
  document.getElementById("title").textContent = `${data.model}: ${what} timeline`;
  const length = source => windowsOf(source).map(w => `${data.phases[w.phase]} ${time(w.end - w.start)}`).join(", ");
  const about = [data.about];
  if (data.measured) about.push(`measured, run ${data.run}: ` + length("measured"));
  const unknown = data.unknown.map(phase => `, ${data.phases[phase]} not predicted`).join("");
  about.push(data.predicted ? `predicted for a run alone: ${length("predicted")}${unknown}` : "no prediction in this plan");
  const { in_flight } = data;
  if (in_flight) about.push(`with ${in_flight.depth} in flight: online ${time(in_flight.online)}, an output every ${time(in_flight.run)}`);
  document.getElementById("about").textContent = about.join("; ");
  const views = document.getElementById("views");
  for (const w of windowsOf(main)) {
    add(views, "button", data.phases[w.phase]).onclick = () => show(w.start, w.end);
  }
  add(views, "button", "run").onclick = showRun;
  add(views, "button", "all").onclick = showAll;
  add(views, "span", "wheel: zoom; drag: move; double click: the run", { class: "key" });
  const legend = document.getElementById("legend");
  const key = (color, text) => {
    const entry = add(legend, "span", "", { class: "key" });
    add(entry, "i").style.background = `var(${color})`;
    add(entry, "span", text);
  };
  data.kinds.forEach((name, kind) => key("--kind" + kind, name));
  key("--wait", "wait");
  const place = document.getElementById("lanes");
  for (const role of data.roles) {
    const section = add(place, "section", "", { "data-role": role.name });
    add(section, "h2", role.name);
    for (const lane of role.lanes) {
      const row = add(section, "div", "", { class: "lane", "data-role": role.name, "data-kind": lane.kind, "data-source": lane.source });
      row.dataset.bars = lane.bars.length / WIDTH;
      const name = add(row, "span", lane.name, { class: "name" });
      if (data.predicted && data.measured && lane.source === "predicted") add(name, "small", " predicted");
      const canvas = add(row, "canvas");
      lanes.push({ ...lane, role: role.name, canvas, bars: Float64Array.from(lane.bars), marks: Float64Array.from(lane.marks), windows: windowsOf(lane.source) });
    }
  }
  totals();
}

function totals() {
  const table = add(document.getElementById("totals"), "table");
  const head = add(table, "tr");
  for (const name of ["role", "phase", "", "threads", "busy", "wait", "wire out", "wire in", "sent", "received"]) add(head, "th", name);
  for (const role of data.roles) {
    for (const t of role.totals.filter(t => (t.busy || 0) + t.bytes_out + t.bytes_in > 0)) {
      const row = add(table, "tr", "", { class: t.source, "data-total": role.name });
      const cells = [role.name, data.phases[t.phase], t.source, t.threads ?? "–", time(t.busy), time(t.wait), time(t.out), time(t.in)];
      for (const cell of [...cells, bytes(t.bytes_out), bytes(t.bytes_in)]) add(row, "td", String(cell));
    }
  }
}

// What is shown.

function show(from, to) {
  const margin = (to - from) * 0.01;
  look(from - margin, to + margin);
}

function look(from, to) {
  const least = 0.5;
  if (to - from < least) [from, to] = [(from + to - least) / 2, (from + to + least) / 2];
  [view.from, view.to] = [from, to];
  requestDraw();
}

function showRun() {
  const run = data.windows.filter(w => data.phases[w.phase] !== "setup");
  showThese(run.length ? run : data.windows);
}

function showAll() {
  showThese(data.windows);
}

function showThese(windows) {
  show(Math.min(...windows.map(w => w.start)), Math.max(...windows.map(w => w.end)));
}

// Drawing.

let waiting = false;
function requestDraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function colors() {
  const style = getComputedStyle(document.documentElement);
  const color = name => style.getPropertyValue(name).trim();
  return { kinds: data.kinds.map((_, kind) => color("--kind" + kind)), wait: color("--wait"), lane: color("--lane"), text: color("--quiet"), line: color("--line") };
}

// Sizes a canvas to its place and returns its context, in CSS pixels.
function ready(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function draw() {
  const palette = colors();
  drawAxis(palette);
  for (const lane of lanes) {
    const place = lane.canvas.getBoundingClientRect();
    if (place.bottom > -200 && place.top < innerHeight + 200) drawLane(lane, palette);
  }
  document.body.dataset.drawn = lanes.length;
}

function drawLane(lane, palette) {
  const { context, width, height } = ready(lane.canvas);
  const scale = width / (view.to - view.from);
  const x = at => (at - view.from) * scale;
  context.fillStyle = palette.lane;
  context.fillRect(0, 0, width, height);
  if (lane.kind === "compute") {
    context.fillStyle = palette.wait;
    for (const w of lane.windows) context.fillRect(x(w.start), height * 0.35, (w.end - w.start) * scale, height * 0.3);
  }
  // Bars of less than two pixels are added up: the height of a column is the share of its time that they fill.
  let column = -1;
  let shares = new Float64Array(palette.kinds.length);
  const flush = () => {
    if (column < 0) return;
    const sum = shares.reduce((a, b) => a + b, 0);
    const fit = height * Math.max(Math.min(sum, 1), 1 / height) / Math.max(sum, 1e-9);
    let bottom = height;
    shares.forEach((share, kind) => {
      if (share <= 0) return;
      context.fillStyle = palette.kinds[kind];
      context.fillRect(column, bottom - share * fit, 1, share * fit);
      bottom -= share * fit;
    });
    shares.fill(0);
    column = -1;
  };
  const bars = lane.bars;
  for (let at = firstAfter(bars, view.from); at < bars.length && bars[at] < view.to; at += WIDTH) {
    const left = x(bars[at]), right = x(bars[at] + bars[at + TIME]), kind = bars[at + KIND];
    if (right - left >= 2) {
      flush();
      const seam = right - left > 5 ? 0.5 : 0;
      context.fillStyle = palette.kinds[kind];
      context.fillRect(left, 0, right - left - seam, height);
      continue;
    }
    // A short bar lies in one column, or in two.
    for (let c = Math.max(Math.floor(left), 0); c <= Math.floor(right) && c < width; c++) {
      if (c !== column) flush();
      column = c;
      // A message of which only the arrival is known is a mark of full height.
      const least = kind === WIRE && right === left ? 1 : 1e-6;
      shares[kind] += Math.max(Math.min(right, c + 1) - Math.max(left, c), least);
    }
  }
  flush();
  drawMarks(lane.marks, context, palette, x, height / 4);
}

// Ticks at the top of a lane, a pixel each.
function drawMarks(marks, context, palette, x, height) {
  let last = -1;
  for (let at = firstFrom(marks, view.from); at < marks.length && marks[at] < view.to; at += WIDTH) {
    const left = Math.floor(x(marks[at]));
    if (left === last) continue;
    last = left;
    context.fillStyle = palette.kinds[marks[at + KIND]];
    context.fillRect(left, 0, 1, height);
  }
}

// The first mark at `from` or after it.
function firstFrom(marks, from) {
  let low = 0, high = marks.length / WIDTH;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks[middle * WIDTH] < from) low = middle + 1; else high = middle;
  }
  return low * WIDTH;
}

// The first bar that ends after `from`; the bars of a lane do not overlap.
function firstAfter(bars, from) {
  let low = 0, high = bars.length / WIDTH;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle * WIDTH] + bars[middle * WIDTH + TIME] < from) low = middle + 1; else high = middle;
  }
  return low * WIDTH;
}

function drawAxis(palette) {
  const { context, width, height } = ready(axis);
  const span = view.to - view.from;
  const rough = span / Math.max(width / 90, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(n => n * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step / 1e3) + 1e-9));
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (let n = Math.ceil(view.from / step); n * step <= view.to; n++) {
    const at = (n * step - view.from) / span * width;
    context.fillStyle = palette.line;
    context.fillRect(at, height - 6, 1, 6);
    context.fillStyle = palette.text;
    context.fillText((n * step / 1e3).toFixed(digits), at, height - 9);
  }
}

// The mouse and the keyboard.

function zoom(factor, middle) {
  look(middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
}

function move(share) {
  const by = (view.to - view.from) * share;
  look(view.from + by, view.to + by);
}

function timeAt(canvas, clientX) {
  const { left, width } = canvas.getBoundingClientRect();
  return view.from + (clientX - left) / width * (view.to - view.from);
}

function control(lane) {
  const canvas = lane.canvas;
  let held = null;
  canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const { width } = canvas.getBoundingClientRect();
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) move(sideways / width);
    else zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), timeAt(canvas, event.clientX));
  }, { passive: false });
  canvas.addEventListener("pointerdown", event => {
    held = event.clientX;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointermove", event => {
    if (held !== null) {
      move((held - event.clientX) / canvas.getBoundingClientRect().width);
      held = event.clientX;
    }
    tip(lane, event);
  });
  canvas.addEventListener("pointerleave", () => { document.getElementById("tip").style.display = "none"; });
  canvas.addEventListener("dblclick", showRun);
}

function keys(event) {
  const middle = (view.from + view.to) / 2;
  const actions = {
    ArrowLeft: () => move(-0.1), ArrowRight: () => move(0.1), 0: showRun,
    "+": () => zoom(0.7, middle), "=": () => zoom(0.7, middle), "-": () => zoom(1 / 0.7, middle),
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  actions[event.key]();
}

// The words for what is under the mouse.

// How far from a time no mouse could tell.
function nearness(lane) {
  return 2 * (view.to - view.from) / Math.max(lane.canvas.getBoundingClientRect().width, 1);
}

// The bar at a time, or one so near that no mouse could tell.
function barAt(lane, at) {
  const near = nearness(lane);
  const first = firstAfter(lane.bars, at - near);
  let best = -1, distance = near;
  for (let i = first; i < lane.bars.length && lane.bars[i] <= at + near; i += WIDTH) {
    const away = Math.max(lane.bars[i] - at, at - lane.bars[i] - lane.bars[i + TIME], 0);
    if (away < distance || best < 0) [best, distance] = [i, away];
    if (away === 0) break;
  }
  return best;
}

// The marks near a time.
function marksAt(lane, at) {
  const near = nearness(lane), found = [];
  for (let i = firstFrom(lane.marks, at - near); i < lane.marks.length && lane.marks[i] <= at + near; i += WIDTH) {
    found.push(lane.marks.subarray(i, i + WIDTH));
  }
  return found;
}

function since(phase, at, lane) {
  const w = lane.windows.find(w => w.phase === phase);
  return w ? `${data.phases[phase]} + ${time(at - w.start)}` : time(at);
}

// The words of a bar or mark.
function wordsOf(row, lane) {
  const [name, op] = data.layers[row[LAYER]] || ["", ""];
  const wire = row[KIND] === WIRE;
  const lines = [data.words[row[WORDS]]];
  if (op) lines.push(`in ${op}`);
  const other = row[RUN] > 0 && row[RUN] !== data.run;
  const at = other ? `${data.phases[row[PHASE]]} of run ${row[RUN]}` : since(row[PHASE], row[START], lane);
  lines.push(`${at}, for ${time(row[TIME])}`);
  if (row[KIND] === QUEUED_SEND) lines.push("waits: too much is queued for the link");
  if (wire && row[QUEUED] > 0) lines.push(`handed over ${time(row[QUEUED])} before, behind other messages`);
  if (wire && row[QUEUED] < 0) lines.push("only the arrival is known");
  const message = wire || row[KIND] === MESSAGE || row[KIND] === QUEUED_SEND;
  lines.push(message ? bytes(row[BYTES]) : `${bytes(row[BYTES])} of buffers; step ${row[NUMBER]}`);
  return [name || "between layers", lines];
}

function describe(lane, at) {
  const bars = lane.bars, i = barAt(lane, at), marks = marksAt(lane, at);
  if (i >= 0) {
    const [title, lines] = wordsOf(bars.subarray(i, i + WIDTH), lane);
    const most = 3;
    for (const mark of marks.slice(0, most)) lines.push(`meanwhile ${data.words[mark[WORDS]]}`);
    if (marks.length > most) lines.push(`and ${marks.length - most} more`);
    return [title, lines];
  }
  if (marks.length) return wordsOf(marks[0], lane);
  const w = lane.windows.find(w => w.start <= at && at <= w.end);
  if (!w || lane.kind !== "compute") return null;
  const next = firstAfter(bars, at);
  const from = next > 0 ? Math.max(w.start, bars[next - WIDTH] + bars[next - WIDTH + TIME]) : w.start;
  const to = next < bars.length ? Math.min(w.end, bars[next]) : w.end;
  const lines = [`${since(w.phase, from, lane)}, for ${time(to - from)}`];
  if (next < bars.length && bars[next] <= w.end) lines.push(`until ${data.words[bars[next + WORDS]]}`);
  return ["wait", lines];
}

function tip(lane, event) {
  const box = document.getElementById("tip");
  const found = describe(lane, timeAt(lane.canvas, event.clientX));
  box.style.display = found ? "block" : "none";
  if (!found) return;
  box.replaceChildren();
  add(box, "b", found[0]);
  add(box, "span", found[1].join("\n"));
  const right = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  const below = event.clientY + 18;
  box.style.left = Math.max(right, 8) + "px";
  box.style.top = (below + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : below) + "px";
}

build();
lanes.forEach(control);
document.getElementById("lanes").addEventListener("keydown", keys);
addEventListener("resize", requestDraw);
addEventListener("scroll", requestDraw, { passive: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", requestDraw);
showRun();
draw();
