"use strict";
const D = JSON.parse(document.getElementById("shown").textContent);
const at = (id) => document.getElementById(id);
const GUTTER = 118, AXIS = 26, FAULT_ROW = 19, LANE_MIN = 54, LANE_MAX = 96;
const KNOWN = {
  PROPOSAL: "#2f6fde", PREPARE: "#12a594", COMMIT: "#3aa655", STATE: "#9aa3b0", CERTIFIED: "#7c8aa0",
  SUSPECT: "#e5a50a", "VIEW-CHANGE": "#e8590c", "NEW-VIEW": "#c2255c", STATUS: "#b7bec9",
  BLOCKS: "#8e4ec6", "FETCH-BLOCKS": "#b58ad9", BODY: "#6d5bd0", "FETCH-BODY": "#a99de8",
  TRANSACTIONS: "#c9a27e", garbage: "#c8232c",
};
const HUES = [210, 160, 30, 330, 270, 100, 0, 190, 55, 300];
const color = (kind) => KNOWN[D.kinds[kind]] || `hsl(${HUES[kind % HUES.length]} 62% 48%)`;
const COLORS = D.kinds.map((_, kind) => color(kind));
const QUIET = new Set(["STATUS", "STATE", "CERTIFIED", "TRANSACTIONS"]);
const MARKS = {
  executed: "dot", noted: "dot", prepared: "diamond", entered: "flag", crashed: "cross", restarted: "ring",
  evidence: "bang", violation: "bang", damaged: "cross", request: "tick",
};

const shows = { kinds: D.kinds.map(() => true), nodes: D.nodes.map(() => true), text: "", lost: false };
if (D.messages.length > 1500) D.kinds.forEach((kind, i) => { shows.kinds[i] = !QUIET.has(kind); });
const view = { begin: 0, end: 1 };
let hover = null, chosen = null, queued = false;
const broken = D.events.find((one) => one[2] === "violation");

// Words

const ms = (us) => (us / 1000).toLocaleString("en", { minimumFractionDigits: 3, maximumFractionDigits: 3 }) + " ms";
const nodeName = (n) => (n < 0 ? "-" : D.nodes[n].name);
function words(thing) {
  if (!thing) return "";
  if (thing.message) {
    const [t, from, to, , label, arrivals] = thing.message;
    const fate = arrivals.length ? arrivals.map((one) => `arrives ${ms(one)} (after ${ms(one - t)})`).join("\n") : "is lost";
    return `${nodeName(from)} \u2192 ${nodeName(to)}  ${label}\nsent ${ms(t)}\n${fate}`;
  }
  if (thing.fault) {
    const one = thing.fault;
    return `${one.kind}\n${ms(one.begin)} to ${ms(one.end)}\n${one.text}`;
  }
  const [t, node, kind, detail] = thing.event;
  return `${nodeName(node)}  ${kind}\n${detail}\n${ms(t)}`;
}

function head() {
  document.title = `${D.name} - bizra-sim report`;
  at("name").textContent = D.name;
  at("why").textContent = D.why;
  const verdict = at("verdict");
  verdict.textContent = D.violation || "all held";
  verdict.className = D.violation ? "bad" : "good";
  at("numbers").textContent = [
    `seed ${D.seed}`, `${D.nodes.length} nodes`, `${(D.end_us / 1e6).toFixed(2)} virtual s`, ...(D.height === null ? [] : [`height ${D.height}`]),
    `${D.sent.toLocaleString("en")} messages`, `commit ${D.commit}`, `trace ${D.trace}`,
    ...(D.dropped ? [`the first ${D.dropped.toLocaleString("en")} messages are not drawn`] : []),
    ...Object.entries(D.marks).map(([name, count]) => `${name} ${count}`),
  ].join("  \u00b7  ");
  at("scenario").textContent = D.scenario;
  at("broken").hidden = !broken;
}

// Filters

function chips(room, names, shown, tint, counts) {
  names.forEach((name, i) => {
    const chip = document.createElement("button");
    chip.className = "chip";
    chip.style.setProperty("--c", tint(i));
    chip.innerHTML = "<i></i><span></span><b></b>";
    chip.children[1].textContent = name;
    chip.children[2].textContent = counts ? counts[i].toLocaleString("en") : "";
    const paint = () => chip.setAttribute("aria-pressed", String(shown[i]));
    chip.onclick = (event) => {
      if (event.altKey || event.shiftKey) {
        const only = shown.every((one, k) => one === (k === i));
        shown.forEach((_, k) => { shown[k] = only || k === i; });
        room.querySelectorAll(".chip").forEach((one, k) => one.setAttribute("aria-pressed", String(shown[k])));
      } else {
        shown[i] = !shown[i];
        paint();
      }
      draw();
    };
    chip.title = "click: on or off; shift-click: only this";
    paint();
    room.append(chip);
  });
}

function isShown(message) {
  return shows.kinds[message[3]] && shows.nodes[message[1]] && shows.nodes[message[2]]
    && (!shows.lost || !message[5].length)
    && (!shows.text || message[4].toLowerCase().includes(shows.text));
}

// Time on paper

const busy = { real: [0], paper: [0], quiet: [], on: true };
function squeeze() {
  const times = new Set([0, D.end_us]);
  for (const [t, , , , , arrivals] of D.messages) { times.add(t); arrivals.forEach((one) => times.add(one)); }
  for (const [t] of D.events) times.add(t);
  const sorted = [...times].sort((a, b) => a - b), gaps = [];
  for (let i = 1; i < sorted.length; i += 1) gaps.push(sorted[i] - sorted[i - 1]);
  const typical = [...gaps].sort((a, b) => a - b)[Math.floor(gaps.length * 0.8)] || 1000;
  const most = Math.max(1500, Math.min(typical * 4, D.end_us / 40));
  busy.real = [0];
  busy.paper = [0];
  busy.quiet = [];
  for (let i = 1; i < sorted.length; i += 1) {
    const gap = sorted[i] - sorted[i - 1], isLong = busy.on && gap > most * 2;
    if (isLong) busy.quiet.push([sorted[i - 1], sorted[i]]);
    busy.real.push(sorted[i]);
    busy.paper.push(busy.paper[i - 1] + (isLong ? most * (0.5 + Math.log2(gap / most) / 8) : gap));
  }
}

function across(from, to, value) {
  let low = 0, high = from.length - 1;
  if (value >= from[high]) return to[high] + (value - from[high]);
  if (value <= 0) return value;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (from[middle] <= value) low = middle; else high = middle;
  }
  const span = from[high] - from[low];
  return to[low] + (span ? ((value - from[low]) / span) * (to[high] - to[low]) : 0);
}
const warp = (t) => across(busy.real, busy.paper, t);
const unwarp = (place) => across(busy.paper, busy.real, place);
const paperEnd = () => busy.paper[busy.paper.length - 1] * 1.03;

// Geometry

const canvas = at("diagram"), pen = canvas.getContext("2d");
const overview = at("overview"), brush = overview.getContext("2d");
const wide = D.faults.filter((fault) => !fault.alone);
const rows = [];
wide.forEach((fault) => {
  let row = rows.findIndex((end) => end <= fault.begin);
  if (row < 0) row = rows.push(0) - 1;
  rows[row] = fault.end;
  fault.row = row;
});
const top0 = AXIS + rows.length * FAULT_ROW + 12;
let width = 0, height = 0, lane = LANE_MIN;
// `view` is in warped time: when nothing happens for long, time passes faster on the paper.
const x = (t) => GUTTER + ((warp(t) - view.begin) / (view.end - view.begin)) * (width - GUTTER - 12);
const time = (px) => unwarp(view.begin + ((px - GUTTER) / (width - GUTTER - 12)) * (view.end - view.begin));
const y = (node) => top0 + lane * (node + 0.5);

function fit(surface, tall) {
  const ratio = window.devicePixelRatio || 1;
  surface.width = Math.round(surface.clientWidth * ratio);
  surface.height = Math.round(tall * ratio);
  surface.style.height = `${tall}px`;
  surface.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}

function resize() {
  width = canvas.clientWidth;
  lane = Math.max(LANE_MIN, Math.min(LANE_MAX, 560 / D.nodes.length));
  height = top0 + lane * D.nodes.length + 14;
  fit(canvas, height);
  fit(overview, 54);
  draw();
}

function look(begin, end) {
  const most = paperEnd(), least = 40;
  const span = Math.min(most, Math.max(least, end - begin));
  view.begin = Math.max(-most * 0.01, Math.min(begin, most - span));
  view.end = view.begin + span;
  draw();
}
const zoom = (factor, around = (view.begin + view.end) / 2) =>
  look(around - (around - view.begin) * factor, around + (view.end - around) * factor);
const goTo = (t) => { const half = (view.end - view.begin) / 2; look(warp(t) - half, warp(t) + half); };
const whole = () => look(0, paperEnd());
function toBroken() {
  if (!broken) return;
  const last = D.messages.filter((one) => one[0] <= broken[0]).slice(-90), end = warp(broken[0]);
  const begin = last.length ? warp(last[0][0]) : 0;
  look(begin, end + (end - begin) * 0.06);
}

// Drawing

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let ink = {};
function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; paint(); paintOverview(); });
}

function paint() {
  ink = Object.fromEntries(["ink", "soft", "line", "lane", "accent", "bad", "down", "fault", "card"].map((n) => [n, css(`--${n}`)]));
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  paintAxis();
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER, AXIS, width - GUTTER, height - AXIS);
  pen.clip();
  paintFaults();
  paintLanes();
  paintMessages();
  paintEvents();
  paintViolation();
  paintChosen();
  pen.restore();
  paintNames();
}

function paintAxis() {
  pen.lineWidth = 1;
  for (const [begin, end] of busy.quiet) {
    const px = x(begin), to = x(end);
    if (to < GUTTER || px > width || to - px < 5) continue;
    pen.fillStyle = ink.line;
    pen.globalAlpha = 0.3;
    pen.fillRect(Math.max(px, GUTTER), AXIS, to - Math.max(px, GUTTER), height);
    pen.globalAlpha = 1;
    if (to - px > 44) {
      pen.fillStyle = ink.soft;
      pen.textAlign = "center";
      pen.fillText(`${Math.round((end - begin) / 1000)} ms`, (px + to) / 2, height - 4);
    }
  }
  pen.strokeStyle = ink.line;
  pen.textAlign = "center";
  let last = -1e9;
  for (let px = GUTTER; px < width - 20; px += 4) {
    const t = tick(time(px), time(px + 4));
    if (t === null || t < 0 || t > D.end_us) continue;
    const place = Math.round(x(t)) + 0.5;
    if (place - last < 92) continue;
    last = place;
    pen.beginPath();
    pen.moveTo(place, AXIS - 5);
    pen.lineTo(place, height);
    pen.stroke();
    pen.fillStyle = ink.soft;
    pen.fillText(brief(t), place, 14);
  }
  const heal = x(D.heal_us);
  if (heal > GUTTER && heal < width) {
    pen.strokeStyle = ink.accent;
    pen.setLineDash([3, 4]);
    pen.beginPath();
    pen.moveTo(heal, AXIS - 6);
    pen.lineTo(heal, height);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = ink.accent;
    pen.textAlign = "left";
    pen.fillText("healed", heal + 4, height - 4);
  }
}

/* The roundest time between two. */
function tick(begin, end) {
  for (let step = 1e7; step >= 1; step /= 10) {
    for (const part of [step, step / 2, step / 5]) {
      const t = Math.ceil(begin / part) * part;
      if (t < end) return part * 60 > (end - begin) || step === 1 ? t : null;
    }
  }
  return null;
}
const brief = (us) => (us >= 1e6 ? `${+(us / 1e6).toFixed(3)} s` : `${+(us / 1000).toFixed(2)} ms`);

function bar(px, to, top, tall, text) {
  const end = Math.max(to, px + 2);
  pen.fillStyle = ink.fault;
  pen.globalAlpha = 0.26;
  pen.fillRect(px, top, end - px, tall);
  pen.globalAlpha = 1;
  pen.fillRect(px, top, 2, tall);
  const from = Math.max(px, GUTTER) + 6;
  if (end - from > 36) {
    pen.save();
    pen.beginPath();
    pen.rect(from, top, end - from - 3, tall);
    pen.clip();
    pen.fillStyle = ink.ink;
    pen.textAlign = "left";
    pen.fillText(text, from, top + tall - 4);
    pen.restore();
  }
}

function paintFaults() {
  for (const fault of wide) {
    const text = `${fault.kind.replace("_", " ")}  ${fault.text}`;
    bar(x(fault.begin), x(fault.end), AXIS + 4 + fault.row * FAULT_ROW, FAULT_ROW - 4, text);
  }
  for (const fault of D.faults) {
    if (!fault.alone) continue;
    for (const node of fault.nodes) {
      if (fault.kind !== "crash") bar(x(fault.begin), x(fault.end), y(node) + lane * 0.26, 13, fault.kind.replace("_", " "));
    }
  }
}

function paintLanes() {
  for (const [node, begin, end, number] of D.views) {
    if (!number || warp(end) < view.begin || warp(begin) > view.end) continue;
    const px = Math.max(x(begin), GUTTER);
    pen.fillStyle = `hsl(${(number * 67) % 360} 60% 55% / .13)`;
    pen.fillRect(px, y(node) - lane * 0.42, x(end) - px, lane * 0.84);
    if (x(end) - px > 30) {
      pen.fillStyle = ink.soft;
      pen.textAlign = "left";
      pen.fillText(`view ${number}`, px + 4, y(node) - lane * 0.42 + 12);
    }
  }
  D.nodes.forEach((_, node) => {
    pen.strokeStyle = ink.lane;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(GUTTER, y(node));
    pen.lineTo(Math.min(width, x(D.end_us)), y(node));
    pen.stroke();
  });
  for (const [node, begin, end] of D.down) {
    const px = x(begin), to = x(end);
    if (to < GUTTER || px > width) continue;
    pen.fillStyle = ink.card;
    pen.fillRect(px, y(node) - 4, to - px, 8);
    pen.fillStyle = ink.down;
    pen.fillRect(px, y(node) - lane * 0.42, to - px, lane * 0.84);
    pen.strokeStyle = ink.bad;
    pen.setLineDash([2, 4]);
    pen.beginPath();
    pen.moveTo(px, y(node));
    pen.lineTo(to, y(node));
    pen.stroke();
    pen.setLineDash([]);
  }
}

function ends(message) {
  const [t, from, to, , , arrivals] = message;
  if (arrivals.length) return arrivals.map((one) => [x(t), y(from), x(one), y(to)]);
  const px = x(t), run = Math.min(30, 4 + (900 / (view.end - view.begin)) * (width - GUTTER));
  return [[px, y(from), px + run, y(from) + (y(to) - y(from)) * 0.42]];
}

function inView(message) {
  const arrivals = message[5], last = arrivals.length ? Math.max(...arrivals) : message[0];
  return warp(last) >= view.begin && warp(message[0]) <= view.end;
}

let visible = [];
function paintMessages() {
  visible = D.messages.filter((one) => inView(one) && isShown(one));
  const crowd = visible.length;
  const alpha = crowd > 6000 ? 0.12 : crowd > 2000 ? 0.25 : crowd > 500 ? 0.5 : 0.8;
  const labels = crowd < 120, heads = crowd < 900;
  pen.lineWidth = crowd > 2000 ? 0.8 : 1.2;
  for (const message of visible) {
    pen.strokeStyle = pen.fillStyle = COLORS[message[3]];
    const isLost = !message[5].length;
    pen.globalAlpha = isLost ? Math.min(1, alpha + 0.15) : alpha;
    for (const [ax, ay, bx, by] of ends(message)) {
      pen.beginPath();
      pen.moveTo(ax, ay);
      pen.lineTo(bx, by);
      pen.stroke();
      if (isLost) cross(bx, by, 3);
      else if (heads) arrow(ax, ay, bx, by);
      if (labels && !isLost && Math.abs(bx - ax) > 64) label(message[4], ax, ay, bx, by);
    }
  }
  pen.globalAlpha = 1;
}

function arrow(ax, ay, bx, by) {
  const angle = Math.atan2(by - ay, bx - ax);
  pen.beginPath();
  pen.moveTo(bx, by);
  pen.lineTo(bx - 7 * Math.cos(angle - 0.35), by - 7 * Math.sin(angle - 0.35));
  pen.lineTo(bx - 7 * Math.cos(angle + 0.35), by - 7 * Math.sin(angle + 0.35));
  pen.fill();
}

function cross(px, py, size) {
  pen.beginPath();
  pen.moveTo(px - size, py - size);
  pen.lineTo(px + size, py + size);
  pen.moveTo(px + size, py - size);
  pen.lineTo(px - size, py + size);
  pen.stroke();
}

function label(text, ax, ay, bx, by) {
  pen.save();
  pen.translate(ax + (bx - ax) * 0.3, ay + (by - ay) * 0.3);
  let angle = Math.atan2(by - ay, bx - ax);
  if (Math.abs(angle) > Math.PI / 2) angle += Math.PI;
  pen.rotate(angle);
  pen.font = "10.5px system-ui, sans-serif";
  pen.textAlign = "left";
  pen.fillText(text, 0, -3);
  pen.restore();
}

function paintEvents() {
  let lastLabel = D.nodes.map(() => -1e9);
  for (const event of D.events) {
    const [t, node, kind, detail] = event, shape = MARKS[kind];
    if (node < 0 || !shape || !shows.nodes[node] || x(t) < GUTTER - 9 || x(t) > width) continue;
    const px = x(t), py = y(node);
    mark(shape, px, py, kind);
    const height_ = /height=(\d+)/.exec(detail);
    const text = kind === "executed" && height_ ? height_[1] : kind === "noted" ? detail.slice(0, 22) : kind === "entered" ? "" : "";
    if (text && px - lastLabel[node] > text.length * 6 + 10) {
      pen.fillStyle = ink.ink;
      pen.textAlign = "center";
      pen.fillText(text, px, py - 9);
      lastLabel[node] = px;
    }
  }
}

function mark(shape, px, py, kind) {
  const bad = kind === "crashed" || kind === "violation" || kind === "damaged";
  pen.fillStyle = pen.strokeStyle = bad ? ink.bad : kind === "evidence" ? ink.fault : ink.ink;
  pen.lineWidth = 2;
  pen.beginPath();
  switch (shape) {
    case "dot": pen.arc(px, py, 4, 0, 7); pen.fill(); break;
    case "ring": pen.arc(px, py, 5, 0, 7); pen.fillStyle = ink.card; pen.fill(); pen.stroke(); break;
    case "diamond": pen.moveTo(px, py - 5); pen.lineTo(px + 5, py); pen.lineTo(px, py + 5); pen.lineTo(px - 5, py); pen.closePath();
      pen.fillStyle = ink.card; pen.fill(); pen.lineWidth = 1.5; pen.stroke(); break;
    case "flag": pen.moveTo(px, py + 9); pen.lineTo(px, py - 9); pen.lineTo(px + 7, py - 6); pen.lineTo(px, py - 3); pen.stroke(); break;
    case "cross": cross(px, py, 5); break;
    case "tick": pen.moveTo(px, py - 6); pen.lineTo(px, py + 6); pen.lineWidth = 1.5; pen.stroke(); break;
    default: pen.moveTo(px, py - 9); pen.lineTo(px + 8, py + 6); pen.lineTo(px - 8, py + 6); pen.closePath(); pen.fill();
  }
}

function paintViolation() {
  if (!broken) return;
  const px = x(broken[0]);
  if (px < GUTTER || px > width) return;
  pen.strokeStyle = pen.fillStyle = ink.bad;
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.moveTo(px, AXIS);
  pen.lineTo(px, height);
  pen.stroke();
  const text = `\u2716 ${D.invariant}`;
  pen.font = "600 13px system-ui, sans-serif";
  const long = pen.measureText(text).width + 14, left = px + long > width ? px - long : px;
  pen.fillRect(left, AXIS, long, 20);
  pen.fillStyle = ink.card;
  pen.textAlign = "left";
  pen.fillText(text, left + 7, AXIS + 14.5);
  pen.font = "12px system-ui, sans-serif";
  const who = /\bn\d+[ab]?\b/.exec(D.violation);
  const node = who ? D.nodes.findIndex((one) => one.name === who[0]) : -1;
  if (node >= 0) {
    pen.beginPath();
    pen.arc(px, y(node), 9, 0, 7);
    pen.stroke();
  }
}

function paintChosen() {
  for (const thing of [hover, chosen]) {
    if (!thing) continue;
    pen.lineWidth = 3;
    if (thing.message) {
      pen.strokeStyle = pen.fillStyle = COLORS[thing.message[3]];
      for (const [ax, ay, bx, by] of ends(thing.message)) {
        pen.beginPath();
        pen.moveTo(ax, ay);
        pen.lineTo(bx, by);
        pen.stroke();
        if (thing.message[5].length) arrow(ax, ay, bx, by);
      }
    } else if (thing.event && thing.event[1] >= 0) {
      pen.strokeStyle = ink.accent;
      pen.beginPath();
      pen.arc(x(thing.event[0]), y(thing.event[1]), 11, 0, 7);
      pen.stroke();
    }
  }
}

function paintNames() {
  D.nodes.forEach((one, node) => {
    pen.globalAlpha = shows.nodes[node] ? 1 : 0.4;
    pen.textAlign = "left";
    pen.font = "600 14px system-ui, sans-serif";
    pen.fillStyle = one.role && one.role !== "joins later" ? ink.bad : ink.ink;
    pen.fillText(one.name, 14, y(node) + (one.role ? -1 : 5));
    if (one.role) {
      pen.font = "11.5px system-ui, sans-serif";
      pen.fillText(one.role.replaceAll("_", " "), 14, y(node) + 14);
    }
  });
  pen.globalAlpha = 1;
  pen.font = "12px system-ui, sans-serif";
}

function paintOverview() {
  const wideth = overview.clientWidth, tall = 54, most = paperEnd();
  const place = (w) => GUTTER + (w / most) * (wideth - GUTTER - 12), ox = (t) => place(warp(t));
  brush.clearRect(0, 0, wideth, tall);
  const bins = new Float64Array(Math.max(1, Math.floor((wideth - GUTTER) / 3)));
  for (const message of D.messages) if (isShown(message)) bins[Math.min(bins.length - 1, Math.floor((warp(message[0]) / most) * bins.length))] += 1;
  const peak = Math.max(1, ...bins);
  brush.fillStyle = ink.lane;
  bins.forEach((count, i) => { const tallness = Math.sqrt(count / peak) * 34; brush.fillRect(GUTTER + i * 3, 46 - tallness, 2, tallness); });
  brush.fillStyle = ink.fault;
  for (const fault of D.faults) brush.fillRect(ox(fault.begin), 48, Math.max(2, ox(fault.end) - ox(fault.begin)), 3);
  if (broken) { brush.fillStyle = ink.bad; brush.fillRect(ox(broken[0]) - 1, 0, 2.5, tall); }
  brush.fillStyle = ink.accent;
  brush.globalAlpha = 0.16;
  brush.fillRect(place(view.begin), 0, Math.max(3, place(view.end) - place(view.begin)), tall);
  brush.globalAlpha = 1;
  brush.fillStyle = ink.soft;
  brush.font = "11.5px system-ui, sans-serif";
  brush.fillText("whole run", 14, 31);
}

// Hands

function under(px, py) {
  let best = null, least = 7;
  for (const event of D.events) {
    if (event[1] < 0 || !MARKS[event[2]]) continue;
    const far = Math.hypot(x(event[0]) - px, y(event[1]) - py);
    if (far < least) { least = far; best = { event }; }
  }
  if (best) return best;
  for (const message of visible) {
    for (const [ax, ay, bx, by] of ends(message)) {
      const dx = bx - ax, dy = by - ay, k = Math.max(0, Math.min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy || 1)));
      const far = Math.hypot(px - ax - k * dx, py - ay - k * dy);
      if (far < least) { least = far; best = { message }; }
    }
  }
  if (best) return best;
  const t = time(px);
  const fault = D.faults.find((one) => one.begin <= t && t <= one.end && (one.alone
    ? one.nodes.some((node) => Math.abs(py - y(node) - lane * 0.26 - 6) < 9)
    : Math.abs(py - (AXIS + 4 + one.row * FAULT_ROW + 7)) < 9));
  return fault ? { fault } : null;
}

function hands() {
  let grip = null, moved = 0;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = (event.deltaX / width) * (view.end - view.begin);
      look(view.begin + by, view.end + by);
    } else zoom(Math.exp(event.deltaY * 0.0015), warp(time(event.offsetX)));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    grip = { px: event.offsetX, begin: view.begin, end: view.end };
    moved = 0;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grip) {
      moved = Math.max(moved, Math.abs(event.offsetX - grip.px));
      const by = ((grip.px - event.offsetX) / (width - GUTTER)) * (grip.end - grip.begin);
      canvas.classList.add("moving");
      return look(grip.begin + by, grip.end + by);
    }
    hover = under(event.offsetX, event.offsetY);
    const tip = at("tip");
    tip.hidden = !hover;
    if (hover) {
      tip.textContent = words(hover);
      tip.style.left = `${Math.min(event.offsetX + 14, width - 300)}px`;
      tip.style.top = `${event.offsetY + 16}px`;
    }
    draw();
  });
  const release = (event) => {
    if (grip && moved < 4) choose(under(event.offsetX, event.offsetY));
    grip = null;
    canvas.classList.remove("moving");
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointerleave", () => { hover = null; at("tip").hidden = true; draw(); });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey) return;
    const step = (view.end - view.begin) / 6;
    const act = { "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1.6), 0: whole, v: toBroken,
      ArrowLeft: () => look(view.begin - step, view.end - step), ArrowRight: () => look(view.begin + step, view.end + step) }[event.key];
    if (act) act();
  });
  let drag = null;
  const overTime = (event) => ((event.offsetX - GUTTER) / (overview.clientWidth - GUTTER - 12)) * paperEnd();
  overview.addEventListener("pointerdown", (event) => { drag = overTime(event); overview.setPointerCapture(event.pointerId); });
  overview.addEventListener("pointermove", (event) => {
    if (drag !== null) look(Math.min(drag, overTime(event)), Math.max(drag, overTime(event)));
  });
  overview.addEventListener("pointerup", (event) => {
    if (drag !== null && Math.abs(overTime(event) - drag) < paperEnd() / 200) goTo(unwarp(drag));
    drag = null;
  });
}

function choose(thing) {
  chosen = thing;
  at("chosen").textContent = words(thing) || "Click on a message or a mark.";
  document.querySelectorAll("#events .chosen").forEach((row) => row.classList.remove("chosen"));
  if (thing && thing.event) {
    const row = at("events").querySelector(`[data-place="${D.events.indexOf(thing.event)}"]`);
    if (row) { row.classList.add("chosen"); row.scrollIntoView({ block: "nearest" }); }
  }
  draw();
}

// The transitions in words

function list() {
  const wanted = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean), room = at("events");
  room.textContent = "";
  let count = 0;
  const all = document.createDocumentFragment();
  D.events.forEach((event, place) => {
    const text = `${nodeName(event[1])} ${event[2]} ${event[3]}`.toLowerCase();
    if (!wanted.every((word) => text.includes(word))) return;
    count += 1;
    if (count > 3000) return;
    const row = document.createElement("button");
    row.dataset.place = place;
    if (event[2] === "violation") row.className = "violation";
    for (const part of [(event[0] / 1000).toFixed(3), nodeName(event[1]), event[2], event[3]]) {
      const cell = document.createElement("span");
      cell.textContent = part;
      row.append(cell);
    }
    row.onclick = () => { choose({ event }); goTo(event[0]); };
    all.append(row);
  });
  room.append(all);
  at("count").textContent = `${count} of ${D.events.length}`;
}

head();
chips(at("kinds"), D.kinds, shows.kinds, (i) => COLORS[i], D.kinds.map((_, kind) => D.messages.filter((one) => one[3] === kind).length));
chips(at("nodes"), D.nodes.map((one) => one.name), shows.nodes, () => "var(--lane)");
at("search").oninput = (event) => { shows.text = event.target.value.toLowerCase(); draw(); };
at("lost").onchange = (event) => { shows.lost = event.target.checked; draw(); };
at("filter").oninput = list;
at("in").onclick = () => zoom(0.6);
at("out").onclick = () => zoom(1.6);
at("all").onclick = whole;
at("squeeze").onchange = (event) => {
  const begin = unwarp(view.begin), end = unwarp(view.end);
  busy.on = event.target.checked;
  squeeze();
  look(warp(begin), warp(end));
};
at("broken").onclick = toBroken;
hands();
list();
addEventListener("resize", resize);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
squeeze();
view.end = paperEnd();
resize();
if (broken && D.messages.length > 150) toBroken();
