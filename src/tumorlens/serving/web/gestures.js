// Mouse, touch, wheel and keys → what they mean for a viewer.

const WHEEL_STEP = 40; // of deltaY for one slice

/**
 * Listen on a viewer's stage. `viewer` has: `tool`, `several`, `step(n)`, `jump(index)`, `zoomBy(factor,
 * point)`, `panBy(dx, dy)`, `windowBy(dx, dy)`, `measureFrom(point)`, `measureTo(point)`, `endMeasure()`,
 * `key(name, event)`.
 */
export function listenTo(stage, viewer) {
  const pointers = new Map();
  let spread = 0, travelled = 0, rolled = 0;
  const pointOf = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 2) return;
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, pointOf(event));
    travelled = 0;
    if (pointers.size === 1 && toolOf(event) === "measure") viewer.measureFrom(pointOf(event));
    if (pointers.size === 2) { spread = apart(pointers); viewer.dropMeasure(); }
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = pointOf(event);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    pointers.set(event.pointerId, now);
    if (pointers.size === 2) pinch(dx, dy);
    else if (pointers.size === 1) drag(toolOf(event), dx, dy, now);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (!pointers.size) viewer.endMeasure();
    });
  }
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener("dblclick", () => { if (viewer.tool !== "measure") viewer.reset(); });

  // The usual second ways: right button for the window, middle button or Shift to move the picture.
  function toolOf(event) {
    if (event.buttons & 4 || event.shiftKey) return "pan";
    return event.buttons & 2 ? "window" : viewer.tool;
  }

  function drag(tool, dx, dy, now) {
    if (tool === "pan") viewer.panBy(dx, dy);
    else if (tool === "window") viewer.windowBy(dx, dy);
    else if (tool === "measure") viewer.measureTo(now);
    else {
      travelled += dy;
      const slice = Math.max(4, stage.clientHeight / viewer.several / 1.2);
      const steps = Math.trunc(travelled / slice);
      if (steps) { travelled -= steps * slice; viewer.step(steps); }
    }
  }

  function pinch(dx, dy) {
    const wide = apart(pointers);
    const [a, b] = [...pointers.values()];
    viewer.zoomBy(wide / (spread || wide), [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
    viewer.panBy(dx / 2, dy / 2);
    spread = wide;
  }

  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      viewer.zoomBy(Math.exp(-event.deltaY / 300), pointOf(event));
      return;
    }
    if (viewer.several < 2) return; // the page scrolls
    event.preventDefault();
    rolled += event.deltaMode ? event.deltaY * WHEEL_STEP : event.deltaY;
    const steps = Math.trunc(rolled / WHEEL_STEP);
    if (steps) { rolled -= steps * WHEEL_STEP; viewer.step(steps); }
  }, { passive: false });

  stage.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (viewer.key(event.key, event)) event.preventDefault();
  });
}

function apart(pointers) {
  const [a, b] = [...pointers.values()];
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
