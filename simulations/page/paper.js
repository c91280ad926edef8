// Where on the paper a time and a node are.

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
