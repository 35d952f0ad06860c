// Puts the page together: what comes from the feed is drawn at the next frame of the screen.

import { drawGantt, drawLine } from "./charts.js";
import { teamColour, total } from "./drawing.js";
import { Feed, playbackStates } from "./feed.js";
import { drawMap } from "./map.js";

const RATE_WINDOW = 20;
const element = (id) => document.getElementById(id);
let scene = null, history = null, fresh = false;
const arrivals = [];

// Where the data are, and what run they are of.
async function look() {
  const connection = await (await fetch("connection.json")).json();
  element("title").textContent = connection.title;
  document.title = `Sortie: ${connection.title}`;
  return connection;
}

const playback = { first: 0n, last: 0n, playing: true, speed: 1, dragging: false, asked: null };
const feed = new Feed(
  (await look()).port,
  { "/view/scene": onScene, "/view/history": (told) => { history = told; fresh = true; } },
  { connected, disconnected: () => setState("disconnected"), playback: onPlayback },
);

function setState(state) {
  document.body.dataset.state = state;
  element("state").textContent = state === "disconnected" ? "not connected, trying again" : state;
}

// The server may have come back with another run.
function connected(info) {
  look();
  history = null;
  arrivals.length = 0;
  playback.asked = null;
  const recorded = info.dataStartTime !== undefined;
  element("playback").hidden = !recorded;
  if (recorded) {
    [playback.first, playback.last] = [info.dataStartTime, info.dataEndTime].map(
      ({ sec, nsec }) => BigInt(sec) * 1000000000n + BigInt(nsec));
  }
  setState(recorded ? "playing" : "live");
}

function onScene(told, time) {
  scene = told;
  fresh = true;
  arrivals.push(performance.now());
  if (arrivals.length > RATE_WINDOW) arrivals.shift();
  document.body.dataset.ticks = Number(document.body.dataset.ticks) + 1;
  showPlace(time);
}

// Playback.

function onPlayback({ status, time, speed, request }) {
  if (playback.asked && request !== playback.asked) return; // told before the server knew what was asked last
  playback.asked = null;
  playback.playing = status === playbackStates.PLAYING;
  playback.speed = speed;
  element("play").textContent = playback.playing ? "Pause" : status === playbackStates.ENDED ? "Again" : "Play";
  playback.ended = status === playbackStates.ENDED;
  setState(playback.playing ? "playing" : playback.ended ? "at its end" : "paused");
  if (Number(element("speed").value) !== speed) element("speed").value = speed;
  showPlace(time);
}

function showPlace(time) {
  if (playback.dragging || playback.asked || playback.last <= playback.first) return; // it is where it was put
  element("seek").value = Math.round((1000 * Number(time - playback.first)) / Number(playback.last - playback.first));
}

// What is asked for counts at once: who pauses and seeks before the server has answered does not play on.
function ask(play, speed, seek) {
  [playback.playing, playback.speed] = [play, speed];
  playback.asked = feed.control(play, speed, seek);
}

element("play").onclick = () => ask(!playback.playing, playback.speed, playback.ended ? playback.first : undefined);
element("speed").onchange = (event) => ask(playback.playing, Number(event.target.value));
element("seek").oninput = (event) => {
  playback.dragging = true;
  const share = BigInt(event.target.value);
  ask(playback.playing, playback.speed, playback.first + ((playback.last - playback.first) * share) / 1000n);
};
element("seek").onchange = () => { playback.dragging = false; };
document.addEventListener("keydown", (event) => {
  if (event.key === " " && !element("playback").hidden && event.target === document.body) element("play").click();
});

// Drawing.

function draw() {
  if (fresh && scene) {
    fresh = false;
    showFigures();
    drawMap(element("map"), scene);
    showCharts();
    showNeeds();
    showVehicles();
    showFaults();
    showGantt();
  }
  requestAnimationFrame(draw);
}

function showFigures() {
  const isCluster = scene.kind === "cluster";
  element("time").textContent = `${scene.time_s.toFixed(1)} s`;
  element("delivered-of").textContent = isCluster ? "of the tasks ended" : "delivered";
  element("rate-of").textContent = isCluster ? "ended/s" : "delivered/s";
  if (scene.drones) {
    element("delivered").textContent = `${(100 * scene.delivered).toFixed(1)} %`;
    element("rate").textContent = `${(100 * scene.rates.delivered_per_s).toFixed(1)} %`;
    element("messages").textContent = scene.rates.messages_per_s.toFixed(0);
    element("bytes").textContent = (scene.rates.bytes_per_s / 1000).toFixed(1);
  }
  const span = arrivals.at(-1) - arrivals[0];
  element("shown").textContent = arrivals.length > 1 ? ((1000 * (arrivals.length - 1)) / span).toFixed(1) : "–";
  element("legend").textContent = isCluster
    ? "rings: free CPU (inner) and memory (outer); lines: who hears whom"
    : "colour: the consumer agreed on; rings: stock, a ring for each kind; lines: who hears whom; crossed out: lost";
}

function showCharts() {
  if (!history) return;
  const times = history.time_s, now = scene.time_s;
  const isCluster = scene.kind === "cluster";
  drawLine(element("chart-delivered"), isCluster ? "tasks ended, share" : "delivered share", times, history.delivered, { top: 1, now });
  drawLine(element("chart-messages"), "packets/s", times, history.messages_per_s, { now, colour: "hsl(35 90% 45%)" });
  element("chart-third").hidden = isCluster;
  if (!isCluster) drawLine(element("chart-third"), "least separation, m", times, history.separation_m, { now, colour: "hsl(150 60% 40%)" });
}

function showNeeds() {
  if (!scene.consumers || !scene.unmet) return;
  const isCluster = scene.kind === "cluster";
  element("needs-title").textContent = isCluster ? "Tasks that wait at each node" : "What consumers still need, of what they asked";
  const most = isCluster ? Math.max(1, ...scene.consumers.tasks) : 0;
  const rows = scene.unmet.map((unmet, m) => {
    const asked = total(scene.consumers.demand[m]);
    const share = isCluster ? scene.consumers.tasks[m] / most : asked > 0 ? total(unmet) / asked : 0;
    const told = isCluster ? scene.consumers.tasks[m] : total(unmet).toFixed(2);
    return `<div class="need${share > 0.001 ? "" : " met"}"><span>${m}</span>` +
      `<i><b style="width:${100 * Math.min(1, share)}%;background:${teamColour(isCluster ? 0 : m)}"></b></i><span>${told}</span></div>`;
  });
  element("needs").innerHTML = rows.join("");
}

function showVehicles() {
  const drones = Object.keys(scene.vehicles);
  if (!drones.length) {
    element("vehicles").replaceChildren();
    return;
  }
  const columns = ["phase", "vehicle", "battery_v", "link", "fence_m", "interventions"];
  const table = document.createElement("table");
  table.createTHead().insertRow().append(...["drone", ...columns].map((name) => cell("th", name.replace("_", ", "))));
  const body = table.createTBody();
  for (const drone of drones.sort((a, b) => a - b)) {
    const told = scene.vehicles[drone];
    body.insertRow().append(cell("td", drone), ...columns.map((name) => cell("td", round(told[name]))), cell("td", told.message));
  }
  element("vehicles").replaceChildren(table);
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text ?? "";
  return made;
}

function round(text) {
  return /^-?\d+\.\d+$/.test(text ?? "") ? Number(text).toFixed(2) : text;
}

function showFaults() {
  const told = scene.faults.map(({ time_s: time, text }) => cell("li", `${time.toFixed(1)} s: ${text}`));
  element("faults").replaceChildren(...(told.length ? told : [cell("li", "none")]));
}

function showGantt() {
  const isCluster = scene.kind === "cluster";
  element("gantt-section").hidden = !isCluster;
  if (!isCluster) return;
  const { length: shown } = scene.runs;
  element("gantt-title").textContent =
    `Tasks on nodes, s of the trace${shown < scene.n_runs ? `; the last ${shown} of ${scene.n_runs}` : ""}`;
  drawGantt(element("gantt"), scene.runs, scene.facts.n_agents);
}

new ResizeObserver(() => { fresh = true; }).observe(document.body);
requestAnimationFrame(draw);
