// Rows of the page's tables. Where the focus is on a row, it is on the row's own link, so
// that Enter is the browser's and tables stay what they are to a screen reader.

const all = () => [...document.querySelectorAll("tr .open")];

export function current() {
  return document.activeElement?.closest("tr[data-key]") ?? null;
}

// Moves by so many rows; from nowhere to the first, or the last.
export function move(by) {
  const links = all();
  const from = links.findIndex((link) => link.closest("tr") === current());
  const to = from < 0 ? (by === Infinity ? links.length - 1 : 0) : Math.min(Math.max(from + by, 0), links.length - 1);
  focusOn(links[to]);
}

export function focusKey(key) {
  focusOn(all().find((link) => link.closest("tr").dataset.key === key));
}

function focusOn(link) {
  if (!link) return;
  link.focus({ preventScroll: true });
  link.closest("tr").scrollIntoView({ block: "nearest" });
}

// Puts the rows of a fresh table in the place of the old ones. A row that stays is the
// same element, with only its changed cells exchanged.
export function adopt(table, fresh) {
  const key = current()?.dataset.key;
  table.dataset.matching = fresh.dataset.matching;
  const body = table.tBodies[0];
  const had = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const row of [...fresh.tBodies[0].rows]) {
    const old = had.get(row.dataset.key);
    had.delete(row.dataset.key);
    const now = old ? update(old, row) : document.adoptNode(row);
    if (now === place) place = place.nextElementSibling;
    else body.insertBefore(now, place);
  }
  for (const gone of had.values()) gone.remove();
  if (key && !current()) {
    const row = [...body.rows].find((r) => r.dataset.key === key);
    row?.querySelector(".open")?.focus({ preventScroll: true });
  }
}

function update(old, fresh) {
  const cells = [...fresh.cells];
  if (cells.length !== old.cells.length) {
    old.replaceChildren(...cells);
    return old;
  }
  cells.forEach((cell, i) => {
    if (!old.cells[i].isEqualNode(cell)) old.cells[i].replaceWith(document.adoptNode(cell));
  });
  return old;
}
