// Keeps the page fresh: asks whether there is something new, and takes over what has
// changed. Without scripts the page reloads as a whole, and all links still work.
import { bindKeys } from "./keys.js";
import { loadJSON, loadPage, Unreachable } from "./load.js";
import { adopt, current, focusKey, move } from "./rows.js";
import { keep, recall } from "./store.js";

const { body } = document;
const poll = Number(body.dataset.poll);
const table = document.getElementById("rows");
const problem = document.getElementById("problem");
const announce = document.getElementById("announce");
const search = document.querySelector("input[type=search]");
const back = document.querySelector("a.back");

let timer = 0;
let pressing = false; // a click is lost when its link is exchanged meanwhile
let latest = 0; // number of the last request: an older answer is dropped
let answered = new Date();

function selecting() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed;
}

function take(fresh) {
  const focused = document.activeElement?.getAttribute("href");
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.getElementById(old.id);
    if (part && !old.isEqualNode(part)) old.replaceWith(document.adoptNode(part));
  }
  const rows = fresh.getElementById("rows");
  if (table && rows) adopt(table, rows);
  body.dataset.state = fresh.body.dataset.state;
  if (focused && document.activeElement === body) {
    [...document.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
  }
}

function trouble(text) {
  // The text stays the same for as long as the trouble does: it is read out once.
  if (problem.textContent !== text) problem.textContent = text;
  document.documentElement.classList.toggle("broken", text !== "");
}

// Does what asks the server, and says so if that does not answer.
async function asking(what) {
  const number = ++latest;
  try {
    await what(() => number === latest);
    if (number !== latest) return;
    answered = new Date();
    trouble("");
  } catch (error) {
    if (number !== latest) return;
    const since = answered.toLocaleTimeString([], { hour12: false });
    trouble(error instanceof Unreachable
      ? `Offline: nomad-sidecar has not answered since ${since}. What is shown is old; it goes on as soon as it is back.`
      : `Not up to date since ${since}: ${error.message}.`);
  }
}

function refresh() {
  return asking(async (newest) => {
    const fresh = await loadPage(location.href);
    if (newest()) take(fresh);
  });
}

function look() {
  return asking(async (newest) => {
    const now = await loadJSON("/api/state");
    if (!newest()) return;
    const age = document.getElementById("age");
    if (age && now.age && age.textContent !== now.age) age.textContent = now.age;
    if (now.state === body.dataset.state || pressing || selecting()) return;
    const fresh = await loadPage(location.href);
    if (newest()) take(fresh);
  });
}

function schedule() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    if (!document.hidden) await look();
    schedule();
  }, poll);
}

// Shows another part of the same table.
function go(url) {
  history.replaceState(null, "", url);
  remember();
  schedule();
  return refresh();
}

async function filter() {
  const url = new URL(location.href);
  url.searchParams.delete("page");
  if (search.value) url.searchParams.set("q", search.value);
  else url.searchParams.delete("q");
  await go(url);
  const found = Number(table?.dataset.matching ?? 0);
  announce.textContent = search.value ? `${found} ${found === 1 ? "row matches" : "rows match"}` : "";
}

function clear() {
  search.value = "";
  filter();
}

function escape() {
  if (search?.value) clear();
  else if (back) back.click();
  else document.activeElement?.blur();
}

// The way back from a job is to the table as it was, and to the row.
function remember() {
  if (table) keep("list", location.pathname + location.search, "sessionStorage");
}

function wayBack() {
  const list = recall("list", "sessionStorage");
  if (back) {
    if (list?.startsWith("/") && list !== "/" && !list.startsWith("//")) {
      back.href = list;
      back.textContent = "← Back";
    }
    return;
  }
  const row = recall("row", "sessionStorage");
  if (row && list === location.pathname + location.search) focusKey(row);
  keep("row", null, "sessionStorage");
  remember();
}

function view(number) {
  return () => document.querySelectorAll("#nav a")[number - 1]?.click();
}

bindKeys({
  "/": () => { search?.focus(); search?.select(); },
  Escape: escape,
  ArrowDown: () => move(1), j: () => move(1),
  ArrowUp: () => move(-1), k: () => move(-1),
  g: () => move(-Infinity), G: () => move(Infinity),
  1: view(1), 2: view(2), 3: view(3), 4: view(4),
});

document.addEventListener("pointerdown", () => { pressing = true; });
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => { pressing = false; });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.classList.contains("open")) keep("row", current()?.dataset.key ?? link.closest("tr").dataset.key, "sessionStorage");
  if (!("nav" in link.dataset)) return;
  event.preventDefault();
  go(new URL(link.href));
});
search?.addEventListener("input", filter);
search?.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    if (search.value) clear();
    else search.blur();
  } else if (event.key === "ArrowDown") {
    event.preventDefault();
    move(0);
  }
});
search?.form.addEventListener("submit", (event) => {
  event.preventDefault();
  move(0);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

document.documentElement.classList.add("live");
for (const box of document.querySelectorAll(".scroll:has(#rows)")) box.removeAttribute("tabindex"); // its rows take the focus
wayBack();
schedule();
