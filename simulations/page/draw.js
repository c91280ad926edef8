// What is drawn.

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
    pen.fillText("healed", heal + 4, height - 18); // above the lengths of quiet times
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

/* Where there is no room for all words, the later ones stay: what broke is at the end. */
function paintEvents() {
  const taken = D.nodes.map(() => 1e9), wall = broken ? x(broken[0]) : 1e9;
  for (let i = D.events.length - 1; i >= 0; i--) {
    const event = D.events[i];
    const [t, node, kind, detail] = event, shape = MARKS[kind];
    if (node < 0 || !shape || !shows.nodes[node] || x(t) < GUTTER - 9 || x(t) > width) continue;
    const px = x(t), py = y(node);
    mark(shape, px, py, kind);
    const height_ = /height=(\d+)/.exec(detail);
    const text = kind === "executed" && height_ ? height_[1] : kind === "noted" ? detail.slice(0, 22) : kind === "entered" ? "" : "";
    if (!text) continue;
    const half = text.length * 3 + 5, isAtWall = px <= wall && px + half > wall;
    const right = isAtWall ? wall - 14 : px + half;
    if (right > taken[node]) continue;
    pen.fillStyle = ink.ink;
    pen.textAlign = isAtWall ? "right" : "center";
    pen.fillText(text, isAtWall ? wall - 14 : px, py - 9);
    taken[node] = right - 2 * half;
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
