"use strict";
const run = JSON.parse(document.getElementById("run").textContent);
const bars = document.getElementById("bars"), overview = document.getElementById("overview");
const tip = document.getElementById("tip"), kept = document.getElementById("kept");
const ROW = 26, LEFT = 92, TOP = 26, WRONG = "#d13438", INK = "#22272b", SOFT = "#66707a", LINE = "#eceef0";

// The operations of each row, in the order of their calls.
const ops = run.operations.map(([row, process, from, end, ended, key, asked, answered, text]) =>
  ({ row, process, from, end, ended, key, asked, answered, text }));
const rows = Array.from({ length: run.rows }, () => []);
for (const op of ops) rows[op.row].push(op);
// What nobody knows the end of may happen at any time.
for (const op of ops) op.to = op.ended === 2 ? run.length : op.end;

const wrong = new Set(run.anomaly ? run.anomaly.unplaced : []);
for (const nth of wrong) ops[nth].wrong = true;
// Moments of effects that agree with the order: no earlier than any call so far, one after the other.
const path = [];
if (run.anomaly) {
  let at = 0;
  for (const nth of run.anomaly.order) {
    const op = ops[nth], end = op.to === null ? run.length : op.to;
    at = Math.max(at, op.from);
    path.push({ op, at, end });
  }
  for (let nth = path.length - 1, next = Infinity; nth >= 0; nth--) {
    // Spread what falls on one moment, as far as the returns allow.
    next = Math.min(path[nth].end, next);
    path[nth].latest = next;
  }
  for (let from = 0; from < path.length;) {
    let to = from;
    while (to + 1 < path.length && path[to + 1].at === path[from].at) to++;
    const limit = Math.min(path[to].latest, to + 1 < path.length ? path[to + 1].at : run.length);
    for (let nth = from; nth <= to; nth++) {
      path[nth].at += (Math.max(0, Math.min(limit, path[nth].latest) - path[nth].at) * (nth - from + 1)) / (to - from + 2);
    }
    from = to + 1;
  }
}

const view = { from: 0, to: Math.max(run.length, 1), top: 0 };
let key = null, hovered = null, width = 0, height = 0, queued = false;
const scale = () => (width - LEFT) / (view.to - view.from);
const x = (time) => LEFT + (time - view.from) * scale();
const time = (px) => view.from + (px - LEFT) / scale();
const y = (row) => TOP + row * ROW - view.top;

function look(from, to) {
  const most = Math.max(run.length, 1), wide = Math.min(Math.max(to - from, 20), most * 1.04);
  view.from = Math.min(Math.max(from, -most * 0.02), most * 1.02 - wide);
  view.to = view.from + wide;
  view.top = Math.min(Math.max(view.top, 0), Math.max(0, rows.length * ROW + TOP + 8 - height));
  redraw();
}

function zoom(factor, px = LEFT + (width - LEFT) / 2) {
  const at = time(px);
  look(at - (at - view.from) * factor, at + (view.to - at) * factor);
}

function showAnomaly() {
  if (!run.anomaly || !run.anomaly.unplaced.length) return look(0, run.length);
  const shown = [...run.anomaly.unplaced.slice(0, 1), ...run.anomaly.order.slice(-12)].map((nth) => ops[nth]);
  const from = Math.min(...shown.map((op) => op.from));
  const to = Math.max(...shown.map((op) => op.end ?? op.from));
  view.top = ops[run.anomaly.unplaced[0]].row * ROW - height / 2;
  look(from - (to - from) * 0.15 - 10, to + (to - from) * 0.25 + 10);
}

function redraw() {
  if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; drawBars(); drawOverview(); }); }
}

function fit(canvas) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * ratio);
  canvas.height = Math.round(box.height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  return [pen, box.width, box.height];
}

const units = [[1e6, "s"], [1e3, "ms"], [1, "µs"]];
function ticks() {
  const rough = (view.to - view.from) / Math.max(2, (width - LEFT) / 110), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * power).find((step) => step >= rough);
  const [size, unit] = units.find(([size]) => step >= size) || units[2], list = [];
  for (let at = Math.max(0, Math.ceil(view.from / step) * step); at <= view.to; at += step) {
    list.push([at, `${+(at / size).toFixed(3)} ${unit}`]);
  }
  return list;
}

// The first operation of a row that may reach into the view.
function firstSeen(row) {
  let low = 0, high = row.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row[middle].from < view.from) low = middle + 1; else high = middle;
  }
  return Math.max(0, low - 1);
}

// Whose row it is in the middle of what is seen.
function labelOf(row) {
  const middle = (view.from + view.to) / 2;
  let label = row[0];
  for (let nth = firstSeen(row); nth < row.length && (row[nth].from <= middle || nth === 0); nth++) label = row[nth];
  return label ? label.process : "";
}

function edges(op) {
  const from = x(op.from), to = x(op.end ?? Math.max(view.to, run.length));
  return [from, Math.max(to, from + 2)];
}

function drawBars() {
  let pen;
  [pen, width, height] = fit(bars);
  pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  pen.textBaseline = "middle";
  for (const [kind, whom, from, to, colour] of run.faults) {
    const left = Math.max(x(from), LEFT), right = Math.min(x(to ?? run.length), width);
    if (right < LEFT || left > width) continue;
    pen.globalAlpha = 0.13; pen.fillStyle = colour; pen.fillRect(left, TOP, Math.max(1, right - left), height);
    pen.globalAlpha = 1;
    if (right - left > 60) { pen.save(); pen.beginPath(); pen.rect(left, 0, right - left, height); pen.clip(); pen.fillText(`${kind} ${whom}`, left + 4, height - 10); pen.restore(); }
  }
  for (const [at, text] of ticks()) {
    pen.fillStyle = LINE; pen.fillRect(x(at), TOP, 1, height);
    pen.fillStyle = SOFT; pen.fillText(text, x(at) + 3, 13);
  }
  const first = Math.max(0, Math.floor(view.top / ROW)), last = Math.min(rows.length, Math.ceil((view.top + height) / ROW));
  for (let nth = first; nth < last; nth++) {
    if (y(nth) < TOP - ROW) continue;
    pen.save(); pen.beginPath(); pen.rect(LEFT, TOP, width, height); pen.clip();
    const row = rows[nth];
    let covered = -Infinity;
    for (let at = firstSeen(row); at < row.length && row[at].from <= view.to; at++) {
      const op = row[at], [from, to] = edges(op);
      // Far away many operations fall on one pixel; one of them is enough, unless it is wrong.
      if (to < covered + 0.5 && !op.wrong) continue;
      covered = to;
      drawBar(pen, op, from, to, y(nth));
    }
    pen.restore();
    pen.fillStyle = "#fff"; pen.fillRect(0, Math.max(y(nth), TOP), LEFT - 2, ROW);
    if (y(nth) >= TOP - 8) { pen.fillStyle = SOFT; pen.fillText(`process ${labelOf(rows[nth])}`, 8, y(nth) + ROW / 2); }
    pen.fillStyle = LINE; pen.fillRect(0, Math.max(y(nth) + ROW - 1, TOP), width, 1);
  }
  drawPath(pen);
}

function drawBar(pen, op, from, to, top) {
  const colour = op.wrong ? WRONG : run.outcomes[op.ended][1], dim = key !== null && op.key !== key;
  if (op.ended === 2 && (op.wrong || op === hovered)) {
    pen.globalAlpha = 0.5; pen.fillStyle = colour; pen.fillRect(to, top + ROW / 2 - 1, Math.max(0, width - to), 2);
  }
  const left = Math.max(from, LEFT - 4), wide = Math.min(to, width + 4) - left;
  if (wide <= 0) return;
  pen.globalAlpha = dim ? 0.08 : op === hovered ? 0.75 : op.wrong ? 0.5 : op.ended === 2 ? 0.22 : 0.38;
  pen.fillStyle = colour; pen.fillRect(left, top + 3, wide, ROW - 7);
  pen.globalAlpha = dim ? 0.15 : 1;
  if (wide > 5) { pen.strokeStyle = colour; pen.lineWidth = op.wrong ? 2 : 1; pen.setLineDash(op.ended === 2 ? [4, 3] : []); pen.strokeRect(left + 0.5, top + 3.5, wide - 1, ROW - 8); pen.setLineDash([]); }
  if (wide > 34 && !dim) {
    pen.save(); pen.beginPath(); pen.rect(left, top, wide - 4, ROW); pen.clip();
    pen.fillStyle = INK;
    pen.fillText(op.answered ? `${op.asked} → ${op.answered}` : op.asked, left + 5, top + ROW / 2);
    pen.restore();
  }
  pen.globalAlpha = 1;
}

function drawPath(pen) {
  if (!path.length) return;
  pen.save(); pen.beginPath(); pen.rect(LEFT, TOP, width, height); pen.clip();
  pen.strokeStyle = INK; pen.globalAlpha = 0.45; pen.lineWidth = 1.2; pen.beginPath();
  const seen = path.filter(({ at }, nth) => (path[nth + 1] ? path[nth + 1].at : at) >= view.from && (nth ? path[nth - 1].at : at) <= view.to);
  for (const { op, at } of seen) pen.lineTo(x(at), y(op.row) + ROW / 2);
  pen.stroke(); pen.globalAlpha = 1; pen.fillStyle = INK;
  if (seen.length < 400) for (const { op, at } of seen) { pen.beginPath(); pen.arc(x(at), y(op.row) + ROW / 2, 2.6, 0, 7); pen.fill(); }
  pen.restore();
}

// How dense operations are in each column of the overview, by what they came to.
let density = null;
function drawOverview() {
  const [pen, wide, high] = fit(overview), most = Math.max(run.length, 1), columns = Math.max(1, Math.floor(wide / 2));
  if (!density || density.length !== columns) {
    density = Array.from({ length: columns }, () => [0, 0, 0]);
    for (const op of ops) density[Math.min(columns - 1, Math.floor((op.from / most) * columns))][op.ended]++;
  }
  for (const [, , from, to, colour] of run.faults) {
    pen.globalAlpha = 0.22; pen.fillStyle = colour;
    pen.fillRect((from / most) * wide, 0, Math.max(1, (((to ?? most) - from) / most) * wide), high);
  }
  pen.globalAlpha = 1;
  const top = Math.max(1, ...density.map(([ok, fail, info]) => ok + fail + info));
  density.forEach((counts, column) => {
    let base = high;
    counts.forEach((count, ended) => {
      const tall = (count / top) * (high - 8);
      pen.fillStyle = run.outcomes[ended][1]; pen.fillRect(column * 2, base - tall, 2, tall); base -= tall;
    });
  });
  pen.fillStyle = WRONG;
  for (const nth of wrong) pen.fillRect((ops[nth].from / most) * wide - 1, 0, 3, high);
  pen.strokeStyle = INK; pen.lineWidth = 1.5;
  pen.strokeRect((view.from / most) * wide, 1, Math.max(3, ((view.to - view.from) / most) * wide), high - 2);
}

function at(px, py) {
  const row = Math.floor((py - TOP + view.top) / ROW);
  if (px < LEFT || py < TOP || !rows[row]) return null;
  let best = null;
  for (let nth = firstSeen(rows[row]); nth < rows[row].length && rows[row][nth].from <= view.to; nth++) {
    const op = rows[row][nth], [from, to] = edges(op);
    if (px >= from - 2 && px <= to + 2 && (!best || op.wrong || px >= from)) best = op;
  }
  return best;
}

let drag = null;
bars.addEventListener("pointerdown", (event) => {
  drag = { px: event.offsetX, py: event.offsetY, from: view.from, to: view.to, top: view.top, moved: false };
  bars.setPointerCapture(event.pointerId); bars.classList.add("moving");
});
bars.addEventListener("pointermove", (event) => {
  const { offsetX: px, offsetY: py } = event;
  if (drag) {
    const by = (drag.px - px) / scale();
    drag.moved = drag.moved || Math.abs(drag.px - px) + Math.abs(drag.py - py) > 3;
    view.top = drag.top + drag.py - py;
    tip.hidden = true;
    return look(drag.from + by, drag.to + by);
  }
  const op = at(px, py);
  if (op !== hovered) { hovered = op; redraw(); }
  tip.hidden = !op;
  if (op) {
    tip.textContent = op.text;
    tip.style.left = `${Math.max(0, Math.min(px + 14, width - 430))}px`;
    tip.style.top = `${py + 18}px`;
  }
});
bars.addEventListener("pointerup", (event) => {
  bars.classList.remove("moving");
  const op = drag && !drag.moved ? at(event.offsetX, event.offsetY) : null;
  drag = null;
  if (op) { kept.hidden = false; kept.textContent = op.text; }
});
bars.addEventListener("pointerleave", () => { tip.hidden = true; hovered = null; redraw(); });
bars.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey) { view.top += event.deltaY || event.deltaX; return look(view.from, view.to); }
  zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) / 300), event.offsetX);
}, { passive: false });
bars.addEventListener("keydown", (event) => {
  const by = (view.to - view.from) / 8;
  const keys = {
    ArrowLeft: () => look(view.from - by, view.to - by), ArrowRight: () => look(view.from + by, view.to + by),
    ArrowUp: () => { view.top -= ROW; look(view.from, view.to); }, ArrowDown: () => { view.top += ROW; look(view.from, view.to); },
    "+": () => zoom(0.7), "-": () => zoom(1.4),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
const jump = (event) => {
  const at = (event.offsetX / overview.getBoundingClientRect().width) * run.length, half = (view.to - view.from) / 2;
  look(at - half, at + half);
};
overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); jump(event); });
overview.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
document.getElementById("whole").onclick = () => look(0, run.length);
document.getElementById("first").onclick = showAnomaly;
document.getElementById("first").hidden = !run.anomaly;
document.getElementById("closer").onclick = () => zoom(0.6);
document.getElementById("wider").onclick = () => zoom(1.6);
document.getElementById("key").oninput = (event) => {
  const nth = run.keys.indexOf(event.target.value);
  key = nth < 0 ? null : nth; redraw();
};
for (const name of run.keys.slice(0, 500)) {
  const option = document.createElement("option"); option.value = name; document.getElementById("keys").append(option);
}
const legend = [...run.outcomes, ...new Map(run.faults.map(([kind, , , , colour]) => [kind, colour])).entries()];
if (run.anomaly) legend.push(["cannot be placed", WRONG]);
for (const [name, colour] of legend) {
  const entry = document.createElement("span"), patch = document.createElement("i");
  patch.style.background = colour; entry.append(patch, name); document.getElementById("legend").append(entry);
}
[, width, height] = fit(bars);
window.addEventListener("resize", () => { density = null; redraw(); });
showAnomaly();
