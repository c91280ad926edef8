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
