"use strict";
// What a reader does with the page, control after control; what came of it is written at its end.
(async () => {
  const paintAll = () => { paint(); paintOverview(); };
  const listed = () => document.querySelectorAll("#events button").length;
  const span = () => view.end - view.begin;
  const shown = () => { paintAll(); return visible.length; };
  const key = (name) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  const typed = (id, text) => { at(id).value = text; at(id).dispatchEvent(new Event("input")); };
  const point = (on, type, px, py) => {
    const box = on.getBoundingClientRect();
    on.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: box.left + px, clientY: box.top + py, bubbles: true }));
  };
  canvas.setPointerCapture = overview.setPointerCapture = () => {}; // there is no real pointer to capture
  const pixels = (like) => {
    const px = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < px.length; i += 4) if (like(px[i], px[i + 1], px[i + 2], px[i + 3])) count += 1;
    return count;
  };
  const told = {};
  paintAll();
  told.verdict = at("verdict").textContent;
  told.listed = listed();

  // The whole run, and where it broke
  whole();
  told.messages = shown();
  told.whole = span();
  told.red = pixels((r, g, b, a) => r > 180 && g < 60 && b < 70 && a > 200);

  // Zoom: buttons, wheel, keys
  at("in").click(); told.in = span();
  at("out").click(); told.out = span();
  at("in").click(); const before = span();
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -400, clientX: 600, clientY: 300, cancelable: true }));
  told.wheeled = [before, span()];
  key("+"); told.plus = span();
  key("-"); told.minus = span();
  const begin = view.begin;
  key("ArrowRight"); told.right = view.begin - begin;
  key("ArrowLeft"); told.left = view.begin - begin;
  key("0"); told.zero = span();
  key("v"); told.v = span();
  told.broken = x(broken[0]) > GUTTER && x(broken[0]) < width;
  whole(); key("+");
  at("all").click(); told.all = span();
  at("in").click();
  at("broken").click();
  told.button = x(broken[0]) > GUTTER && x(broken[0]) < width;

  // Dragging moves the paper; the overview chooses a part of it
  at("in").click(); at("in").click();
  const held = view.begin;
  point(canvas, "pointerdown", 500, 60); point(canvas, "pointermove", 300, 60); point(canvas, "pointerup", 300, 60);
  told.dragged = view.begin - held;
  whole();
  point(overview, "pointerdown", 400, 20); point(overview, "pointermove", 600, 20); point(overview, "pointerup", 600, 20);
  told.brushed = span();

  // Quiet times
  whole();
  at("squeeze").click(); told.stretched = busy.quiet.length;
  at("squeeze").click(); told.squeezed = busy.quiet.length;

  // Each filter takes away just what it says
  whole();
  const all = shown(), without = (chip) => { chip.click(); const left = shown(); chip.click(); return all - left; };
  told.kinds = [...document.querySelectorAll("#kinds .chip")].map((chip) => [chip.children[1].textContent, without(chip)]);
  told.nodes = [...document.querySelectorAll("#nodes .chip")].map((chip) => [chip.children[1].textContent, without(chip)]);
  const first = document.querySelector("#kinds .chip");
  first.dispatchEvent(new MouseEvent("click", { shiftKey: true })); told.only = shown();
  first.dispatchEvent(new MouseEvent("click", { shiftKey: true })); told.again = shown();
  at("lost").click(); told.lost = shown(); at("lost").click();
  typed("search", "transaction=3"); told.searched = shown();
  typed("search", ""); told.unsearched = shown();

  // The transitions in words
  typed("filter", "noted n1"); told.words = listed();
  typed("filter", "violation"); told.filtered = listed();
  document.querySelector("#events button").click(); paintAll();
  told.chosen = at("chosen").textContent;

  // What stands under the pointer
  whole();
  const message = D.messages.find((one) => one[5].length), [ax, ay, bx, by] = ends(message)[0];
  paintAll();
  point(canvas, "pointermove", (ax + bx) / 2, (ay + by) / 2);
  told.tip = at("tip").hidden ? "" : at("tip").textContent;
  point(canvas, "pointerleave", 0, 0);
  told.gone = at("tip").hidden;

  const out = document.createElement("pre");
  out.id = "told";
  out.textContent = JSON.stringify(told);
  document.body.append(out);
})();
