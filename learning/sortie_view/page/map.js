// The team from above: drones in the colour of what they have agreed on, consumers, radio links.

import { prepare, teamColour, theme, total } from "./drawing.js";

const MARGIN_PX = 36;

export function drawMap(canvas, scene) {
  const { pen, width, height } = prepare(canvas);
  const colours = theme();
  if (!scene.drones) return;
  const place = frame(scene, width, height);
  drawArena(pen, scene, place, colours);
  drawLinks(pen, scene, place, colours);
  if (scene.kind === "delivery" && scene.consumers) drawConsumers(pen, scene, place, colours);
  drawDrones(pen, scene, place, colours);
}

// From metres to pixels, the whole arena or cluster in sight.
function frame(scene, width, height) {
  const half = scene.facts.arena_half_m;
  const xs = scene.drones.x.concat(half ? [-half, half] : []);
  const ys = scene.drones.y.concat(half ? [-half, half] : []);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [bottom, top] = [Math.min(...ys), Math.max(...ys)];
  const scale = Math.min(
    (width - 2 * MARGIN_PX) / Math.max(right - left, 1e-6), (height - 2 * MARGIN_PX) / Math.max(top - bottom, 1e-6));
  const [cx, cy] = [(left + right) / 2, (bottom + top) / 2];
  return { x: (m) => width / 2 + (m - cx) * scale, y: (m) => height / 2 - (m - cy) * scale, scale };
}

function drawArena(pen, scene, place, colours) {
  const half = scene.facts.arena_half_m;
  if (!half) return;
  pen.strokeStyle = colours.line;
  pen.strokeRect(place.x(-half), place.y(half), 2 * half * place.scale, 2 * half * place.scale);
  pen.fillStyle = colours.faint;
  pen.fillText(`${(2 * half).toFixed(1)} m`, place.x(-half) + 4, place.y(-half) - 5);
}

function drawLinks(pen, scene, place, colours) {
  const { x, y } = scene.drones;
  pen.strokeStyle = colours.faint;
  pen.globalAlpha = 0.35;
  pen.beginPath();
  for (const [i, j] of scene.links) {
    pen.moveTo(place.x(x[i]), place.y(y[i]));
    pen.lineTo(place.x(x[j]), place.y(y[j]));
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawConsumers(pen, scene, place, colours) {
  const { x, y, demand, active } = scene.consumers;
  const radius = Math.max(6, scene.facts.service_radius_m * place.scale);
  for (let m = 0; m < x.length; m++) {
    const needed = total(scene.unmet[m]), asked = total(demand[m]);
    const [cx, cy] = [place.x(x[m]), place.y(y[m])];
    pen.globalAlpha = active[m] ? 0.25 : 0.08;
    pen.fillStyle = teamColour(m);
    disc(pen, cx, cy, radius, 1);
    pen.globalAlpha = active[m] ? 0.85 : 0.2;
    disc(pen, cx, cy, radius * Math.sqrt(asked > 0 ? needed / asked : 0), 1);
    pen.globalAlpha = 1;
    pen.fillStyle = colours.ink;
    pen.textAlign = "center";
    pen.fillText(needed > 0.005 ? needed.toFixed(2) : "✓", cx, cy - radius - 4);
  }
}

function drawDrones(pen, scene, place, colours) {
  const { x, y, alive, stock, choice } = scene.drones;
  const radius = x.length > 40 ? 5 : 8;
  const isCluster = scene.kind === "cluster";
  for (let k = 0; k < x.length; k++) {
    const [cx, cy] = [place.x(x[k]), place.y(y[k])];
    const capacity = isCluster ? scene.facts.capacity[k] : stock[k].map(() => 1);
    pen.fillStyle = alive[k] ? (isCluster ? "hsl(210 70% 50%)" : teamColour(choice[k])) : colours.ink;
    pen.strokeStyle = colours.ground;
    pen.lineWidth = 2;
    disc(pen, cx, cy, radius, 1);
    pen.stroke();
    if (!alive[k]) {
      cross(pen, cx, cy, radius - 2);
      continue;
    }
    stock[k].forEach((amount, r) => ring(pen, cx, cy, radius + 3 + 3 * r, amount / capacity[r], colours.ink));
    if (x.length <= 40) {
      pen.fillStyle = "#fff";
      pen.textAlign = "center";
      pen.fillText(String(k), cx, cy + 4);
    }
    if (isCluster && scene.consumers && scene.consumers.tasks[k]) {
      pen.fillStyle = colours.ink;
      pen.textAlign = "left";
      pen.fillText(`${scene.consumers.tasks[k]} wait`, cx + radius + 10, cy + 4);
    }
  }
  pen.lineWidth = 1;
}

function disc(pen, x, y, radius, share) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI * share);
  pen.fill();
}

// What is in stock, as a part of a ring that begins at the top.
function ring(pen, x, y, radius, share, colour) {
  if (share <= 0.001) return;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.arc(x, y, radius, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * Math.min(1, share));
  pen.stroke();
}

function cross(pen, x, y, radius) {
  pen.beginPath();
  pen.moveTo(x - radius, y - radius);
  pen.lineTo(x + radius, y + radius);
  pen.moveTo(x - radius, y + radius);
  pen.lineTo(x + radius, y - radius);
  pen.stroke();
}
