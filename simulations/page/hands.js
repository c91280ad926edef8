// What the reader does, and how it all begins.

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
