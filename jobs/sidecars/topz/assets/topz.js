"use strict";
// Keeps the page fresh: fetches it again and swaps the parts marked data-live.
// Without this script the page refreshes as a whole and all links still work.

const interval = 1000 * Number(document.body.dataset.interval);
const problem = document.getElementById("problem");
const pause = document.getElementById("pause");
const search = document.querySelector("input[type=search]");

let paused = false;
let timer = 0;
let pressing = false; // a click is lost when its link is swapped meanwhile
let latest = 0; // number of the last request: an older answer is dropped

function selecting() {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed;
}

function swap(fresh) {
  const focused = document.activeElement?.dataset?.nav;
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = fresh.getElementById(old.id);
    if (part) old.replaceWith(document.adoptNode(part));
  }
  if (focused) {
    [...document.querySelectorAll("[data-nav]")].find((a) => a.dataset.nav === focused)?.focus();
  }
}

async function refresh() {
  const number = ++latest;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(10000) });
    const text = await answer.text();
    if (number !== latest) return;
    if (!answer.ok) throw new Error(text.trim());
    swap(new DOMParser().parseFromString(text, "text/html"));
    problem.textContent = "";
  } catch (error) {
    if (number !== latest) return;
    problem.textContent = "Not up to date: " + error.message;
  }
  document.body.classList.toggle("broken", problem.textContent !== "");
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
  history.replaceState(null, "", url);
  schedule();
  return refresh();
}

document.addEventListener("pointerdown", () => { pressing = true; });
for (const end of ["pointerup", "pointercancel"]) {
  document.addEventListener(end, () => { pressing = false; });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-nav]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const url = new URL(link.href);
  search.value = url.searchParams.get("q") ?? "";
  go(url);
});

function filter() {
  const url = new URL(location.href);
  if (search.value) url.searchParams.set("q", search.value);
  else url.searchParams.delete("q");
  go(url);
}
search.addEventListener("input", filter);
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  filter();
});

pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  pause.setAttribute("aria-pressed", String(paused));
  document.body.classList.toggle("paused", paused);
  if (!paused) refresh();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) refresh();
});

document.body.classList.add("scripted");
pause.hidden = false;
schedule();
