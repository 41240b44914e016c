
"use strict";
const pack = JSON.parse(document.getElementById("pack").textContent);
const served = location.protocol !== "file:";
const $ = (id) => document.getElementById(id);
const take = new Map(pack.takes.map((one, number) => [one.file, Object.assign(one, { number })]));
const cards = new Map();  // file -> card element
let order = [], current = null;

// Everything from the pack is shown as text or as an attribute value, never as markup.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Choices

const storageKey = "audiogen-selection-" + pack.id + "-" + pack.name;
let choices = { ...pack.selection.takes };
if (!served) {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey) || "null");
    if (kept && kept.time > pack.selection_time) choices = kept.takes;
  } catch (error) { /* a browser without storage: choices last as long as the page is open */ }
}
const nothingChosen = { status: "", star: false, note: "" };
const choice = (file) => choices[file] || nothingChosen;
const selectionText = () => JSON.stringify({ takes: choices }, null, 2) + "\n";

function choose(file, change) {
  choices[file] = { ...nothingChosen, ...choices[file], ...change };
  if (served) changed.add(file);
  paint(file);
  count();
  paintLayers();
  store();
}

// A server is sent what this page has changed alone: other pages may be open on the same pack.
const changed = new Set();
let saving = null;
function store() {
  if (!served) {
    try {
      localStorage.setItem(storageKey, JSON.stringify({ time: Date.now(), takes: choices }));
      say("Kept in this browser; download to use them", false);
    } catch (error) { say("Only in this window: download before you close it", true); }
    return;
  }
  clearTimeout(saving);
  saving = setTimeout(send, 250);
}
async function send() {
  clearTimeout(saving);
  const sent = [...changed], body = JSON.stringify({ takes: Object.fromEntries(sent.map((file) => [file, choices[file]])) });
  changed.clear();
  try {
    const answer = await fetch("selection.json", { method: "PUT", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error(await answer.text());
    say("Saved in selection.json", false);
  } catch (error) { sent.forEach((file) => changed.add(file)); say("Not saved: " + error.message, true); }
}
function say(text, warn) { $("status").textContent = text; $("status").classList.toggle("warn", warn); }
addEventListener("beforeunload", (event) => { if (changed.size) { send(); event.preventDefault(); } });

function download(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Cards

const number = (value, digits) => value.toFixed(digits).replace("-", "\u2212");
function sound(one) {
  const { brightness, events, roughness, steadiness, tonality, key, tempo } = one.sound;
  return [
    brightness !== null && `${brightness} Hz bright`, `${number(events, 1)} events/s`, `rough ${number(roughness, 2)}`,
    `steady ${number(steadiness, 2)}`, `tonal ${number(tonality, 2)}`, key, tempo !== null && `${tempo} bpm`,
  ].filter(Boolean).join(" · ");
}
function asked(one) {
  const controls = Object.entries(one.controls).map(([name, value]) => `${name} ${value}`);
  return [one.negative && `not ${one.negative.slice(0, 80)}`, ...controls].filter(Boolean).join(", ");
}
function scored(one) {
  const { texture, prompt } = one.score;
  return `Texture ${number(texture, 2)}: not clipped, silent or like another take. Prompt ${prompt === null ? "not judged" : number(prompt, 2) + ": how surely it is heard as what the prompt names"}.`;
}
function build(one) {
  const seam = one.seam !== null && one.seam > 1;
  const marks = [
    one.loop && element("span", { class: "mark" }, one.tempo ? `loop, ${one.tempo[0]} bpm, ${one.tempo[1]} ${one.tempo[1] === 1 ? "bar" : "bars"}` : "loop"),
    asked(one) && element("span", { class: "mark", title: one.negative }, `asked: ${asked(one)}`),
    one.score && element("span", { class: "mark", title: scored(one) }, `best of ${one.best_of}, score ${number(one.score.score, 2)}`),
    one.seam !== null && element("span", { class: seam ? "mark warn" : "mark", title: "Above 1 the seam can be heard" }, `seam ${number(one.seam, 2)}`),
    one.amount !== null && element("span", { class: "mark" }, `varied by ${one.amount}`),
    one.parent && jump((seed) => `from seed ${seed}`, one.parent, "mark"),
    ...one.near.map(([file, distance]) => jump((seed) => `like seed ${seed}, ${number(distance, 1)} dB`, file, "mark warn")),
  ].filter(Boolean);
  const act = (name, text, key, run) => element("button", { class: "do-" + name, "aria-pressed": "false", "aria-keyshortcuts": key, title: `${text} (${key})`, tabindex: -1, onclick: run }, name === "star" ? "\u2605" : text);
  const card = element("article", { class: "card", tabindex: -1, "data-file": one.file, "aria-label": `${one.prompt.slice(0, 200) || "without a prompt"}, seed ${one.seed}` },
    element("div", { class: "screen", onclick: (event) => { select(one.file, false); play(one.file, (event.offsetX / event.currentTarget.clientWidth) * one.seconds); } },
      element("img", { alt: "", decoding: "async", draggable: "false" }),
      element("canvas", { width: 480, height: 88, "aria-hidden": "true" }), element("div", { class: "head" })),
    element("div", { class: "text" },
      element("p", { class: "prompt", dir: "auto", title: one.prompt.slice(0, 1000) }, one.prompt.slice(0, 1000) || "(no prompt)"),
      element("p", { class: "facts" }, `seed ${one.seed} · ${number(one.seconds, 2)} s · ${one.lufs === null ? "silent" : number(one.lufs, 1) + " LUFS"}`,
        one.negative ? ` · without: ${one.negative.slice(0, 200)}` : ""),
      element("p", { class: "facts sound" }, sound(one)),
      element("div", { class: "marks" }, ...marks),
      element("p", { class: "note", dir: "auto", hidden: true })),
    element("div", { class: "acts" },
      element("button", { class: "play", "aria-label": "Play", tabindex: -1, onclick: () => { select(one.file, false); toggle(one.file); } }),
      act("keep", "Keep", "K", () => mark(one.file, "keep")), act("reject", "Reject", "R", () => mark(one.file, "reject")),
      act("star", "Star", "S", () => star(one.file)), act("note", "Note", "N", () => write(one.file))));
  card.addEventListener("focus", () => select(one.file, false));
  return card;
}
function jump(text, file, name) {
  const seed = take.has(file) ? take.get(file).seed : file;
  return element("button", { class: name, title: file, tabindex: -1, onclick: () => { if (cards.has(file)) { cards.get(file).hidden = false; select(file); } } }, text(seed));
}
// Pictures are drawn when their card comes near the window, so that the first ones are seen soon.
const nearby = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) if (isIntersecting) { nearby.unobserve(target); draw(target, take.get(target.dataset.file)); }
}, { rootMargin: "600px" });
function draw(card, one) {
  card.querySelector("img").src = one.picture;
  const canvas = card.querySelector("canvas"), ink = canvas.getContext("2d");
  const bytes = Uint8Array.from(atob(one.peaks), (letter) => letter.charCodeAt(0));
  const peaks = new Int8Array(bytes.buffer), columns = peaks.length / 2, wide = canvas.width / columns;
  const half = canvas.height / 2, loudest = Math.max(8, ...peaks.map(Math.abs));
  ink.fillStyle = "#4b4452";
  for (let column = 0; column < columns; column++) {
    const low = peaks[2 * column] / loudest, high = peaks[2 * column + 1] / loudest;
    ink.fillRect(column * wide, half - high * half * .94, Math.max(1, wide - .5), Math.max(1.5, (high - low) * half * .94));
  }
}
function paint(file) {
  const card = cards.get(file), made = choice(file), pressed = (name, on) => card.querySelector(".do-" + name).setAttribute("aria-pressed", on);
  card.classList.toggle("keep", made.status === "keep");
  card.classList.toggle("reject", made.status === "reject");
  pressed("keep", made.status === "keep"); pressed("reject", made.status === "reject");
  pressed("star", made.star); pressed("note", made.note !== "");
  const note = card.querySelector(".note");
  note.textContent = made.note;
  note.hidden = made.note === "";
}
function count() {
  const all = pack.takes.map((one) => choice(one.file));
  const facts = [[all.length, "takes"], [all.filter((one) => one.status === "keep").length, "kept"], [all.filter((one) => one.status === "reject").length, "rejected"],
    [all.filter((one) => one.star).length, "starred"], [all.filter((one) => !one.status).length, "open"]];
  $("counts").replaceChildren(...facts.map(([value, name]) => element("span", {}, element("b", {}, value), " " + name)));
}

// Order, search, filter

const filters = {
  all: () => true, open: (one) => !choice(one.file).status, keep: (one) => choice(one.file).status === "keep", reject: (one) => choice(one.file).status === "reject",
  star: (one) => choice(one.file).star, note: (one) => choice(one.file).note !== "", loop: (one) => one.loop, near: (one) => one.near.length > 0,
};
const last = (value) => (value === null ? Infinity : value);
const rank = { keep: 0, "": 1, reject: 2 };
const by = (name) => (one, two) => (two.sound[name] ?? -1) - (one.sound[name] ?? -1);
const scoreOf = (one) => (one.score ? one.score.score : -1);
const sorts = {
  score: (one, two) => scoreOf(two) - scoreOf(one),
  brightness: by("brightness"), events: by("events"), roughness: by("roughness"), steadiness: by("steadiness"), tonality: by("tonality"),
  made: (one, two) => 0, prompt: (one, two) => one.prompt.localeCompare(two.prompt), seconds: (one, two) => one.seconds - two.seconds,
  lufs: (one, two) => (two.lufs ?? -999) - (one.lufs ?? -999), seam: (one, two) => last(one.seam) - last(two.seam) || 0,
  near: (one, two) => (one.near[0] ? one.near[0][1] : 999) - (two.near[0] ? two.near[0][1] : 999), chosen: (one, two) => rank[choice(one.file).status] - rank[choice(two.file).status],
};
function arrange() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (one) => { const text = (one.prompt + " " + one.file + " " + choice(one.file).note).toLowerCase(); return words.every((word) => text.includes(word)); };
  const sorted = [...pack.takes].sort((one, two) => sorts[$("sort").value](one, two) || one.number - two.number);
  order = sorted.filter((one) => filters[$("filter").value](one) && fits(one)).map((one) => one.file);
  const shown = new Set(order);
  for (const one of sorted) { const card = cards.get(one.file); card.hidden = !shown.has(one.file); $("cards").append(card); }
  $("nothing").hidden = order.length > 0;
  if (!shown.has(current)) select(order[0] || null, false);
}
function select(file, focus = true, scroll = true) {
  if (current && cards.has(current)) { cards.get(current).classList.remove("current"); cards.get(current).tabIndex = -1; }
  current = file;
  if (!file) return;
  const card = cards.get(file);
  card.classList.add("current");
  card.tabIndex = 0;
  if (focus) { card.focus({ preventScroll: true }); if (scroll) card.scrollIntoView({ block: "nearest" }); }
}
function move(by) {
  const at = order.indexOf(current), next = order[Math.min(order.length - 1, Math.max(0, at + by))];
  if (!next || next === current) return;
  const heard = playing !== null;
  select(next);
  if ($("auto").checked) play(next, 0); else if (heard) stop();
}
function mark(file, status) {
  const back = choice(file).status === status;
  select(file, false);
  choose(file, { status: back ? "" : status });
  if (!back && $("onwards").checked) move(1);
}
const star = (file) => choose(file, { star: !choice(file).star });
function write(file) {
  const card = cards.get(file), text = card.querySelector(".text");
  if (text.querySelector("textarea")) return;
  const area = element("textarea", { "aria-label": "Note", maxlength: 20000, dir: "auto" });
  area.value = choice(file).note;
  let ended = false;  // taking a focused field away is a blur, too
  const end = () => { if (ended) return; ended = true; const note = area.value.trim(); area.remove(); if (note !== choice(file).note) choose(file, { note }); };
  area.addEventListener("blur", end);
  area.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) { event.preventDefault(); end(); select(file); }
  });
  text.append(area);
  area.focus();
}

// Sound: decoded when it is first heard; loops go on without a gap, since their copy on the page
// has some of the loop before and behind it, and is played between the two.

let context = null, playing = null;
const decoded = new Map();
const rate = Math.max(...pack.takes.map((one) => one.rate));
function audio() {
  if (!context) context = new AudioContext({ sampleRate: rate });
  if (context.state === "suspended") context.resume();
  return context;
}
async function block(one) {
  const id = "sound-" + one.number;
  if (!$(id) && document.readyState === "loading") await new Promise((done) => addEventListener("DOMContentLoaded", done, { once: true }));
  const text = $(id).textContent, letters = atob(text.slice(text.indexOf(",") + 1)), bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
  return bytes.buffer;
}
async function buffer(one) {
  if (!decoded.has(one.file)) {
    decoded.set(one.file, audio().decodeAudioData(await block(one)));
    if (decoded.size > 40) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(one.file);
}
function sourceOf(where, one, sound, lead = one.lead / one.rate) {
  const source = new AudioBufferSourceNode(where, { buffer: sound, loop: one.loop, loopStart: lead, loopEnd: lead + one.samples / one.rate });
  source.lead = lead;
  return source;
}
async function play(file, from) {
  stop();
  stopLayers();
  const one = take.get(file), mine = (playing = { files: [file] });
  audio();
  cards.get(file).classList.add("playing");
  cards.get(file).querySelector(".play").setAttribute("aria-label", "Pause");
  const sound = await buffer(one);
  if (playing !== mine) return;
  const source = sourceOf(context, one, sound);
  source.connect(context.destination);
  source.start(0, source.lead + from);
  if (!one.loop) source.addEventListener("ended", () => { if (playing === mine) stop(); });
  Object.assign(mine, { sources: [source], began: context.currentTime - from });
  follow(mine);
}
function stop() {
  if (!playing) return;
  for (const source of playing.sources || []) source.stop();
  for (const file of playing.files) { cards.get(file).classList.remove("playing"); cards.get(file).querySelector(".play").setAttribute("aria-label", "Play"); }
  playing = null;
}
const toggle = (file) => (playing && playing.files.includes(file) ? stop() : play(file, 0));
function follow(mine) {
  if (playing !== mine) return;
  for (const file of mine.files) {
    const one = take.get(file), at = context.currentTime - mine.began;
    cards.get(file).querySelector(".head").style.left = 100 * Math.min(1, (one.loop ? at % one.seconds : at) / one.seconds) + "%";
  }
  requestAnimationFrame(() => follow(mine));
}

// A and B: both run in sync, one is heard

const sides = { A: null, B: null };
function side(name, file) {
  sides[name] = file;
  $("compare").hidden = false;
  for (const card of cards.values()) card.querySelectorAll(".ab").forEach((old) => old.remove());
  for (const [key, on] of Object.entries(sides)) {
    if (on) cards.get(on).querySelector(".marks").prepend(element("span", { class: "mark ab" }, key));
    $("side-" + key.toLowerCase()).textContent = on ? `${key}: ${take.get(on).prompt.slice(0, 200) || "(no prompt)"}, seed ${take.get(on).seed}` : `${key}: press ${key} on a take`;
  }
  if (playing && playing.heard) stop();
  paintSides();
  dock();
}
function paintSides() { for (const key of ["A", "B"]) $("side-" + key.toLowerCase()).classList.toggle("on", Boolean(playing && playing.heard === key)); }
async function swap() {
  if (!sides.A || !sides.B) return;
  if (playing && playing.gains) {
    playing.heard = playing.heard === "A" ? "B" : "A";
    for (const [key, gain] of Object.entries(playing.gains)) gain.gain.setTargetAtTime(key === playing.heard ? 1 : 0, context.currentTime, .004);
    paintSides();
    return;
  }
  stop();
  stopLayers();
  const mine = (playing = { files: [...new Set([sides.A, sides.B])], heard: "A" });
  audio();
  for (const file of mine.files) cards.get(file).classList.add("playing");
  const pair = await Promise.all(["A", "B"].map((key) => buffer(take.get(sides[key]))));
  if (playing !== mine) return;
  const start = context.currentTime + .03;
  mine.gains = {};
  mine.sources = ["A", "B"].map((key, index) => {
    const source = sourceOf(context, take.get(sides[key]), pair[index]);
    mine.gains[key] = new GainNode(context, { gain: key === "A" ? 1 : 0 });
    source.connect(mine.gains[key]).connect(context.destination);
    source.start(start, source.lead);
    return source;
  });
  let left = 2;
  for (const source of mine.sources) source.addEventListener("ended", () => { if (--left === 0 && playing === mine) { stop(); paintSides(); } });
  mine.began = start;
  paintSides();
  follow(mine);
}

// Layers: kept loops that start together, each with a fader

const faders = new Map();  // file -> {on, db}
let mix = null;
const layers = () => pack.takes.filter((one) => one.loop && choice(one.file).status === "keep");
const fader = (file) => faders.get(file) || faders.set(file, { on: true, db: 0 }).get(file);
const gainOf = (file) => (fader(file).on ? 10 ** (fader(file).db / 20) : 0);
const level = (db) => (db > 0 ? "+" : "") + number(db, 0) + " dB";
let layersShown = "";
function paintLayers(force) {
  if ($("layers").hidden) return;
  const kept = layers(), names = kept.map((one) => one.file).join();
  if (!force && names === layersShown) return;
  layersShown = names;
  if (mix) stopLayers();
  $("layers-hint").textContent = kept.length ? `${kept.length} kept loop${kept.length > 1 ? "s" : ""}` : "Keep loops, and they are layered here.";
  $("layers-play").disabled = $("export").disabled = !kept.length;
  $("layer-rows").replaceChildren(...kept.map((one) => {
    const state = fader(one.file), shown = element("output", {}, level(state.db)), name = `${one.prompt.slice(0, 120) || "(no prompt)"}, seed ${one.seed}`;
    const set = () => { if (mix && mix.gains && mix.gains.has(one.file)) mix.gains.get(one.file).gain.setTargetAtTime(gainOf(one.file), context.currentTime, .01); };
    const on = element("input", { type: "checkbox", "aria-label": "In the mix: " + name, onchange: () => { state.on = on.checked; set(); } });
    on.checked = state.on;
    const slide = element("input", { type: "range", min: -36, max: 6, step: 1, "aria-label": "Level of " + name, oninput: () => { state.db = Number(slide.value); shown.textContent = level(state.db); set(); } });
    slide.value = state.db;
    return element("div", { class: "layer" }, on, element("span", { title: name, dir: "auto" }, name), slide, shown);
  }));
}
function connectLayers(where, kept, sounds, start, lead) {
  const gains = new Map();
  const sources = kept.map((one, index) => {
    const source = sourceOf(where, one, sounds[index], lead), gain = new GainNode(where, { gain: gainOf(one.file) });
    source.connect(gain).connect(where.destination);
    source.start(start, source.lead);
    gains.set(one.file, gain);
    return source;
  });
  return { sources, gains };
}
async function playLayers() {
  if (mix) { stopLayers(); return; }
  stop();
  const mine = (mix = {}), kept = layers();
  audio();
  $("layers-play").textContent = "Stop";
  const sounds = await Promise.all(kept.map(buffer));
  if (mix === mine) Object.assign(mine, connectLayers(context, kept, sounds, context.currentTime + .05));
}
function stopLayers() {
  if (!mix) return;
  for (const source of mix.sources || []) source.stop();
  mix = null;
  $("layers-play").textContent = "Play";
}
async function mixdown() {
  const kept = layers().filter((one) => fader(one.file).on), turns = Math.min(64, Math.max(1, Math.round(Number($("turns").value) || 1)));
  if (!kept.length) { $("layers-status").textContent = "No layer is switched on."; return null; }
  const longest = kept.reduce((one, two) => (two.samples / two.rate > one.samples / one.rate ? two : one));
  const offline = new OfflineAudioContext(Math.max(...kept.map((one) => one.channels)), Math.round(turns * longest.samples / longest.rate * rate), rate);
  // A server has the takes themselves; a page from disk may read no other file, and has its copies.
  const sounds = await Promise.all(kept.map(async (one) => offline.decodeAudioData(served ? await original(one) : await block(one))));
  connectLayers(offline, kept, sounds, 0, served ? 0 : undefined);
  return offline.startRendering();
}
async function original(one) {
  const answer = await fetch(`takes/${one.file}.wav`);
  if (!answer.ok) throw new Error(`${one.file}: ${answer.status}`);
  return answer.arrayBuffer();
}
async function exportMix() {
  $("layers-status").textContent = "Mixing";
  try {
    const sound = await mixdown();
    if (!sound) return;
    const { bytes, lowered } = wav(sound);
    download(pack.name.replace(/[^\w-]+/g, "-") + "-mix.wav", new Blob([bytes], { type: "audio/wav" }));
    $("layers-status").textContent = `${number(sound.duration, 2)} s, 24 bit, from the ${served ? "takes" : "page's compressed sounds"}` + (lowered < 0 ? `, lowered by ${number(-lowered, 1)} dB` : "");
  } catch (error) { $("layers-status").textContent = "Not mixed: " + error.message; }
}
function wav(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
  let peak = 0;
  for (const samples of channels) for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const gain = peak > .891 ? .891 / peak : 1;  // -1 dBFS at the most
  const frame = 3 * channels.length, size = frame * sound.length, bytes = new ArrayBuffer(44 + size + size % 2), view = new DataView(bytes);
  const text = (at, letters) => [...letters].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, bytes.byteLength - 8, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, channels.length, true); view.setUint32(24, sound.sampleRate, true);
  view.setUint32(28, frame * sound.sampleRate, true); view.setUint16(32, frame, true); view.setUint16(34, 24, true);
  text(36, "data"); view.setUint32(40, size, true);
  let at = 44;
  for (let index = 0; index < sound.length; index++) for (const samples of channels) {
    const value = Math.max(-8388608, Math.min(8388607, Math.round(samples[index] * gain * 8388608)));
    view.setUint8(at, value & 255); view.setInt16(at + 1, value >> 8, true);
    at += 3;
  }
  return { bytes, lowered: 20 * Math.log10(gain) };
}
function showLayers(on) {
  $("layers").hidden = !on;
  $("show-layers").setAttribute("aria-expanded", on);
  if (!on) stopLayers();
  paintLayers(true);
  dock();
  if (on) ($("layer-rows").querySelector("input") || $("layers-close")).focus(); else if (current) select(current);
}
function dock() { $("dock").hidden = $("layers").hidden && $("compare").hidden; }
function endCompare() {
  if (playing && playing.heard) stop();
  sides.A = sides.B = null;
  document.querySelectorAll(".ab").forEach((old) => old.remove());
  $("compare").hidden = true;
  dock();
  if (current) select(current);
}

// Keys

const keys = {
  " ": () => toggle(current), k: () => mark(current, "keep"), r: () => mark(current, "reject"), s: () => star(current), n: () => write(current),
  j: () => move(1), arrowright: () => move(1), arrowdown: () => move(1), h: () => move(-1), arrowleft: () => move(-1), arrowup: () => move(-1),
  a: () => side("A", current), b: () => side("B", current), x: swap, home: () => select(order[0]), end: () => select(order[order.length - 1]),
};
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(), place = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (key === "escape" && place !== document.body) { if (current) select(current); return; }
  if (place.matches("input, select, textarea")) { if (!(place.type === "checkbox" && key !== " ")) return; }
  if (key === " " && place.matches("button")) return;  // the button's own
  if (key === "/") { event.preventDefault(); $("search").focus(); return; }
  if (key === "?") { event.preventDefault(); $("help").showModal(); return; }
  if (key === "l") { event.preventDefault(); showLayers($("layers").hidden); return; }
  if (keys[key] && current) { event.preventDefault(); keys[key](); }
});

$("search").addEventListener("input", arrange);
$("search").addEventListener("keydown", (event) => { if (event.key === "Enter" && current) select(current); });
for (const id of ["filter", "sort"]) $(id).addEventListener("change", arrange);
$("save").addEventListener("click", () => download("selection.json", new Blob([selectionText()], { type: "application/json" })));
$("show-layers").addEventListener("click", () => showLayers($("layers").hidden));
$("layers-close").addEventListener("click", () => showLayers(false));
$("layers-play").addEventListener("click", playLayers);
$("export").addEventListener("click", exportMix);
$("swap").addEventListener("click", swap);
$("end-compare").addEventListener("click", endCompare);
$("show-help").addEventListener("click", () => $("help").showModal());

for (const one of pack.takes) {
  const card = build(one);
  cards.set(one.file, card);
  nearby.observe(card);
  paint(one.file);
}
arrange();
count();
select(order[0] || null, true, false);
if (served) {
  fetch("selection.json").then((answer) => answer.json()).then((found) => {
    for (const file of changed) found.takes[file] = choices[file];  // chosen before it came
    choices = found.takes;
    pack.takes.forEach((one) => paint(one.file));
    count();
    arrange();
    say("Choices are saved in selection.json", false);
  }).catch((error) => say("No server: " + error.message, true));
} else say("Choices stay in this browser until you download them", false);
