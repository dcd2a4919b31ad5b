// Keeps the page fresh: fetches it again and takes over what has changed.
// Without scripts the page reloads as a whole, and all links still work.
import { Details } from "./details.js";
import { Grid } from "./grid.js";
import { History } from "./history.js";
import { bindKeys } from "./keys.js";
import { load, Unreachable } from "./load.js";
import { keep } from "./store.js";

const interval = 1000 * Number(document.body.dataset.interval);
const root = document.documentElement;
const table = document.getElementById("processes");
const problem = document.getElementById("problem");
const announce = document.getElementById("announce");
const pause = document.getElementById("pause");
const theme = document.getElementById("theme");
const search = document.querySelector("input[type=search]");

const history = new History(interval);
const details = new Details(history);
const grid = new Grid(table, (row) => details.open && details.show(row));

let paused = false;
let timer = 0;
let pressing = false; // a click is lost when its link is exchanged meanwhile
let latest = 0; // number of the last request: an older answer is dropped
let answered = new Date();
let searched = false; // its matches are not announced yet

function measured() {
  return document.querySelectorAll("[data-cpu]");
}

function selecting() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed;
}

function take(fresh) {
  const focused = document.activeElement?.dataset?.nav;
  for (const old of document.querySelectorAll("[data-live], #processes > :is(caption, thead)")) {
    const part = fresh.querySelector(old.id ? "#" + old.id : "#processes > " + old.localName);
    if (part && !old.isEqualNode(part)) old.replaceWith(document.adoptNode(part));
  }
  const rows = fresh.getElementById("processes");
  history.record(fresh.querySelectorAll("tr[data-cpu]"), Number(rows.dataset.sampled));
  history.record(document.querySelectorAll("#totals"), Number(rows.dataset.sampled));
  grid.adopt(rows);
  if (!new URL(location.href).searchParams.get("q")) grid.prune();
  draw();
  announceMatches();
  if (focused && document.activeElement === document.body) {
    [...document.querySelectorAll("[data-nav]")].find((a) => a.dataset.nav === focused)?.focus({ preventScroll: true });
  }
}

function draw() {
  history.draw(table.querySelectorAll("tr[data-cpu]"));
  history.line(document.getElementById("totals"), "pod");
  if (details.open) details.show(grid.chosen);
}

function trouble(text) {
  // The text stays the same for as long as the trouble does: it is read out once.
  if (problem.textContent !== text) problem.textContent = text;
  root.classList.toggle("broken", text !== "");
}

async function refresh() {
  const number = ++latest;
  try {
    const fresh = await load(location.href);
    if (number !== latest) return;
    take(fresh);
    answered = new Date();
    trouble("");
  } catch (error) {
    if (number !== latest) return;
    const since = answered.toLocaleTimeString([], { hour12: false });
    trouble(error instanceof Unreachable
      ? `Offline: topz has not answered since ${since}. What is shown is old; it goes on as soon as topz is back.`
      : `Not up to date since ${since}: ${error.message}.`);
  }
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    // Nobody looks, or someone is about to copy: leave the page as it is.
    if (!paused && !document.hidden && !pressing && !selecting()) await refresh();
    schedule();
  }, interval);
}

function go(url) {
  window.history.replaceState(null, "", url);
  schedule();
  return refresh();
}

// Follows a link of the page without leaving it.
function follow(nav) {
  const link = [...document.querySelectorAll("a[data-nav]")].find((a) => a.dataset.nav === nav);
  if (!link) return;
  const url = new URL(link.href);
  search.value = url.searchParams.get("q") ?? "";
  go(url);
}

function filter() {
  const url = new URL(location.href);
  if (search.value) url.searchParams.set("q", search.value);
  else url.searchParams.delete("q");
  grid.expandAll(); // make all matches visible
  searched = true;
  return go(url);
}

// Announces what a search has found, with the first answer to it: a later request may have replaced
// the search's own.
function announceMatches() {
  if (!searched) return;
  searched = false;
  const found = grid.rows.filter((row) => row.dataset.pid && !row.classList.contains("context")).length;
  announce.textContent = search.value ? `${found} ${found === 1 ? "process matches" : "processes match"}` : "";
}

function toggleDetails() {
  if (details.open) details.close();
  else details.show(grid.chosen);
}

function togglePause() {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  pause.setAttribute("aria-pressed", String(paused));
  root.classList.toggle("paused", paused);
  if (!paused) refresh();
}

function sayTheme() {
  const chosen = root.dataset.theme;
  theme.textContent = { light: "Light", dark: "Dark" }[chosen] ?? "Auto";
  theme.setAttribute("aria-label", "Colours: " + (chosen ?? "as the system"));
}

function nextTheme() {
  const next = { undefined: "dark", dark: "light", light: null }[root.dataset.theme];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  keep("theme", next);
  sayTheme();
}

function escape() {
  if (details.open) details.close();
  else if (search.value) {
    search.value = "";
    filter();
  } else grid.clear();
}

const page = () => Math.max(1, Math.floor(window.innerHeight / 40));
const reverse = () => follow(document.querySelector('th[aria-sort$="cending"] a')?.dataset.nav);

bindKeys({
  "/": () => { search.focus(); search.select(); },
  Escape: escape,
  ArrowDown: () => grid.move(1), j: () => grid.move(1),
  ArrowUp: () => grid.move(-1), k: () => grid.move(-1),
  PageDown: () => grid.move(page()), PageUp: () => grid.move(-page()),
  Home: () => grid.move(-Infinity), g: () => grid.move(-Infinity),
  End: () => grid.move(Infinity), G: () => grid.move(Infinity),
  ArrowRight: () => grid.expand(), l: () => grid.expand(),
  ArrowLeft: () => grid.collapse(), h: () => grid.collapse(),
  " ": () => grid.toggle(),
  e: () => grid.expandAll(), c: () => grid.collapseAll(),
  Enter: toggleDetails,
  P: () => follow("sort-cpu"), M: () => follow("sort-memory"), T: () => follow("sort-time"), N: () => follow("sort-pid"),
  R: reverse,
  t: () => follow(table.classList.contains("tree") ? "list" : "tree"),
  p: togglePause,
  d: nextTheme,
});

document.addEventListener("pointerdown", () => { pressing = true; });
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => { pressing = false; });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-nav]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  follow(link.dataset.nav);
});
table.addEventListener("open", (event) => details.show(event.target));
search.addEventListener("input", filter);
search.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    if (search.value) {
      search.value = "";
      filter();
    } else grid.move(0);
  } else if (event.key === "ArrowDown") {
    event.preventDefault();
    grid.move(0);
  }
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  grid.move(0);
});
pause.addEventListener("click", togglePause);
theme.addEventListener("click", nextTheme);
document.getElementById("fold").addEventListener("click", () => grid.collapseAll());
document.getElementById("unfold").addEventListener("click", () => grid.expandAll());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) refresh();
});

root.classList.add("live");
document.querySelector(".scroll").removeAttribute("tabindex"); // its rows take the focus now
sayTheme();
history.record(measured(), Number(table.dataset.sampled));
draw();
schedule();
