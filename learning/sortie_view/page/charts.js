// Lines over mission time, and bars of tasks on nodes.

import { prepare, teamColour, theme } from "./drawing.js";

const LEFT_PX = 40, RIGHT_PX = 8, TOP_PX = 16, BOTTOM_PX = 14;

// values: [T] with null where there is none; top: the axis' end, that of the data where undefined; now: s, marked.
export function drawLine(canvas, title, times, values, { top, now, colour = "hsl(210 80% 50%)" } = {}) {
  const { pen, width, height } = prepare(canvas);
  const colours = theme();
  const known = values.filter((each) => each !== null);
  const most = top ?? Math.max(1e-9, ...known) * 1.05;
  const last = Math.max(1e-9, times.at(-1) ?? 0, now ?? 0);
  const x = (time) => LEFT_PX + (time / last) * (width - LEFT_PX - RIGHT_PX);
  const y = (value) => height - BOTTOM_PX - (value / most) * (height - TOP_PX - BOTTOM_PX);
  pen.strokeStyle = colours.line;
  pen.strokeRect(LEFT_PX, TOP_PX, width - LEFT_PX - RIGHT_PX, height - TOP_PX - BOTTOM_PX);
  pen.fillStyle = colours.faint;
  pen.textAlign = "left";
  pen.fillText(title, LEFT_PX, 11);
  pen.textAlign = "right";
  pen.fillText(short(most), LEFT_PX - 4, TOP_PX + 8);
  pen.fillText("0", LEFT_PX - 4, height - BOTTOM_PX);
  pen.fillText(`${last.toFixed(0)} s`, width - RIGHT_PX, height - 2);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  let drawing = false;
  for (let t = 0; t < times.length; t++) {
    if (values[t] === null) drawing = false;
    else if (drawing) pen.lineTo(x(times[t]), y(values[t]));
    else {
      pen.moveTo(x(times[t]), y(values[t]));
      drawing = true;
    }
  }
  pen.stroke();
  if (now !== undefined) {
    pen.strokeStyle = colours.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(now), TOP_PX);
    pen.lineTo(x(now), height - BOTTOM_PX);
    pen.stroke();
  }
}

function short(value) {
  return value >= 1000 ? `${(value / 1000).toFixed(1)}k` : value >= 10 ? value.toFixed(0) : value.toPrecision(2);
}

// runs: [[task, node, began_s, ended_s or null, lost], ...]
export function drawGantt(canvas, runs, nNodes) {
  const { pen, width, height } = prepare(canvas);
  const colours = theme();
  const begins = runs.map((run) => run[2]);
  const first = Math.min(...begins, Infinity), last = Math.max(...runs.map((run) => run[3] ?? run[2]), 0) + 1;
  const row = (height - BOTTOM_PX) / nNodes;
  const x = (time) => LEFT_PX + ((time - first) / Math.max(last - first, 1e-9)) * (width - LEFT_PX - RIGHT_PX);
  pen.fillStyle = colours.faint;
  pen.textAlign = "right";
  for (let node = 0; node < nNodes; node++) if (row >= 10 || node % 5 === 0) pen.fillText(node, LEFT_PX - 6, row * node + row * 0.7);
  for (const [bars, lane] of lanes(runs, nNodes)) {
    for (const { run, track } of bars) {
      const [task, node, began, ended, lost] = run;
      const thick = Math.max(1.5, (row - 2) / lane);
      pen.globalAlpha = ended === null ? 0.6 : 1;
      pen.fillStyle = lost ? colours.bad : teamColour(task);
      pen.fillRect(x(began), row * node + 1 + track * thick, Math.max(1, x(ended ?? last) - x(began)), Math.max(1, thick - 0.5));
    }
  }
  pen.globalAlpha = 1;
  pen.fillStyle = colours.faint;
  pen.textAlign = "left";
  if (runs.length) pen.fillText(`${first.toFixed(0)} s`, LEFT_PX, height - 2);
  pen.textAlign = "right";
  if (runs.length) pen.fillText(`${last.toFixed(0)} s`, width - RIGHT_PX, height - 2);
}

// Tasks that run beside each other on a node, on tracks of their own; with how many tracks each node has.
function lanes(runs, nNodes) {
  const free = Array.from({ length: nNodes }, () => []);
  const bars = Array.from({ length: nNodes }, () => []);
  for (const run of [...runs].sort((a, b) => a[2] - b[2])) {
    const ends = free[run[1]];
    let track = ends.findIndex((end) => end <= run[2]);
    if (track < 0) track = ends.push(0) - 1;
    ends[track] = run[3] ?? Infinity;
    bars[run[1]].push({ run, track });
  }
  return bars.map((each, node) => [each, Math.max(1, free[node].length)]);
}
