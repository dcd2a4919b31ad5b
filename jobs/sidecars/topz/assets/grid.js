// The table as a treegrid (WAI-ARIA APG): one row can be chosen, rows with
// others below them can be closed. Takes over fresh rows without losing that.

export class Grid {
  #table;
  #body;
  #closed = new Set(); // keys
  #chosen = null; // key
  #changed; // called with the chosen row, or null

  constructor(table, changed) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#changed = changed;
    table.addEventListener("click", (event) => this.#click(event));
    table.addEventListener("focusin", (event) => {
      const row = event.target.closest("tr[data-level]");
      if (row && row === event.target) this.#mark(row);
    });
    this.#decorate();
  }

  get rows() {
    return [...this.#body.rows].filter((row) => row.dataset.level);
  }

  get chosen() {
    return this.rows.find((row) => row.dataset.key === this.#chosen) ?? null;
  }

  #visible() {
    return this.rows.filter((row) => !row.hidden);
  }

  // Puts the rows of a fresh table in the place of the old ones. A row that
  // stays is the same element, with only its changed cells exchanged: focus,
  // selected text and the pointer's row stay what they are.
  adopt(fresh) {
    const focused = this.#body.contains(document.activeElement);
    const index = this.#visible().indexOf(this.chosen);
    reconcile(this.#body, fresh.tBodies[0]);
    this.#table.className = fresh.className;
    this.#table.dataset.sampled = fresh.dataset.sampled;
    if (this.#chosen && !this.chosen) this.#chosen = null;
    this.#decorate();
    if (focused && !this.#body.contains(document.activeElement)) {
      const rows = this.#visible();
      (this.chosen ?? rows[Math.min(Math.max(index, 0), rows.length - 1)])?.focus({ preventScroll: true });
    }
    this.#changed(this.chosen);
  }

  // Closed rows that are gone need no longer be remembered.
  prune() {
    const keys = new Set(this.rows.map((row) => row.dataset.key));
    for (const key of this.#closed) if (!keys.has(key)) this.#closed.delete(key);
  }

  #decorate() {
    const tree = this.#table.classList.contains("tree");
    this.#table.setAttribute("role", tree ? "treegrid" : "grid");
    let closedAt = Infinity;
    for (const row of this.rows) {
      const level = Number(row.dataset.level);
      if (level <= closedAt) closedAt = Infinity;
      row.hidden = level > closedAt;
      row.setAttribute("aria-selected", String(row.dataset.key === this.#chosen));
      row.tabIndex = -1;
      attribute(row, "aria-level", tree ? row.dataset.level : null);
      const open = !this.#closed.has(row.dataset.key);
      attribute(row, "aria-expanded", "parent" in row.dataset ? String(open) : null);
      if (!open && !row.hidden) closedAt = level;
    }
    const reachable = this.chosen && !this.chosen.hidden ? this.chosen : this.#visible()[0];
    if (reachable) reachable.tabIndex = 0;
  }

  #mark(row) {
    this.#chosen = row.dataset.key;
    this.#decorate();
    this.#changed(row);
  }

  // Chooses a row, as if it had been clicked.
  choose(row) {
    if (!row) return;
    row.focus({ preventScroll: true });
    this.#mark(row);
    row.scrollIntoView({ block: "nearest" });
  }

  clear() {
    this.#chosen = null;
    this.#decorate();
    this.#changed(null);
  }

  // Moves by so many rows; from nowhere to the first.
  move(by) {
    const rows = this.#visible();
    const from = rows.indexOf(this.chosen);
    this.choose(rows[from < 0 ? 0 : Math.min(Math.max(from + by, 0), rows.length - 1)]);
  }

  expand() {
    const row = this.chosen;
    if (!row || !("parent" in row.dataset)) return;
    if (this.#closed.has(row.dataset.key)) this.#toggle(row);
    else this.move(1);
  }

  collapse() {
    const row = this.chosen;
    if (!row) return;
    if ("parent" in row.dataset && !this.#closed.has(row.dataset.key)) {
      this.#toggle(row);
      return;
    }
    const before = this.rows.slice(0, this.rows.indexOf(row));
    this.choose(before.reverse().find((other) => Number(other.dataset.level) < Number(row.dataset.level)));
  }

  toggle() {
    if (this.chosen && "parent" in this.chosen.dataset) this.#toggle(this.chosen);
  }

  #toggle(row) {
    const key = row.dataset.key;
    if (!this.#closed.delete(key)) this.#closed.add(key);
    this.#decorate();
  }

  expandAll() {
    this.#closed.clear();
    this.#decorate();
  }

  collapseAll() {
    const top = this.rows.filter((row) => "parent" in row.dataset && row.dataset.level === "1");
    this.#closed = new Set(top.map((row) => row.dataset.key));
    const row = this.chosen;
    this.#decorate();
    if (row?.hidden) {
      const before = this.rows.slice(0, this.rows.indexOf(row));
      this.choose(before.reverse().find((other) => !other.hidden));
    }
  }

  #click(event) {
    const row = event.target.closest("tr[data-level]");
    if (!row || event.button !== 0 || !document.getSelection().isCollapsed) return;
    row.focus({ preventScroll: true });
    this.#mark(row);
    if (event.target.closest(".twisty")) this.#toggle(row);
    else row.dispatchEvent(new CustomEvent("open", { bubbles: true }));
  }
}

function attribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

function reconcile(body, fresh) {
  const had = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const row of [...fresh.rows]) {
    const old = had.get(row.dataset.key);
    had.delete(row.dataset.key);
    const now = old ? update(old, row) : document.adoptNode(row);
    if (now === place) place = place.nextElementSibling;
    else body.insertBefore(now, place);
  }
  for (const gone of had.values()) gone.remove();
}

// Makes an old row say what a fresh one does.
function update(old, fresh) {
  old.className = fresh.className;
  for (const name in old.dataset) if (!(name in fresh.dataset)) delete old.dataset[name];
  Object.assign(old.dataset, fresh.dataset);
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
