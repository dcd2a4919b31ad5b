// The panel that shows one row whole: all columns, also those that a narrow
// screen leaves out, and its history in large.

export class Details {
  #panel = document.getElementById("details");
  #table = document.getElementById("processes");
  #history;

  constructor(history) {
    this.#history = history;
    this.#panel.querySelector("button").addEventListener("click", () => this.close());
  }

  get open() {
    return !this.#panel.hidden;
  }

  close() {
    const focused = this.#panel.contains(document.activeElement);
    this.#panel.hidden = true;
    document.documentElement.classList.remove("detailed");
    if (focused) this.#table.querySelector('tr[tabindex="0"]')?.focus({ preventScroll: true });
  }

  show(row) {
    if (!row) return this.close();
    const name = row.querySelector("b").textContent;
    this.#panel.querySelector("h2").textContent = row.dataset.pid ? `${name} · ${row.dataset.pid}` : `task ${name}`;
    this.#panel.querySelector(".command").textContent = row.querySelector("code")?.textContent ?? "";
    this.#panel.querySelector("dl").replaceChildren(...this.#facts(row));
    const [cpu, memory] = this.#panel.querySelectorAll("figcaption");
    cpu.textContent = this.#caption("CPU", row, "cpu", (n) => n.toFixed(1) + "%");
    memory.textContent = this.#caption("Memory", row, "memory", (n) => (n / 1048576).toFixed(1) + " MiB");
    this.#history.line(this.#panel, row.dataset.key);
    this.#panel.hidden = false;
    document.documentElement.classList.add("detailed");
  }

  #caption(title, row, of, unit) {
    const [least, most] = this.#history.range(row.dataset.key, of);
    return `${title} ${unit(Number(row.dataset[of]))}, between ${unit(least)} and ${unit(most)}`;
  }

  // All columns but those that the panel shows otherwise.
  #facts(row) {
    const titles = [...this.#table.tHead.rows[0].cells];
    return [...row.cells].flatMap((cell, i) => {
      const text = cell.textContent.trim();
      if (text === "" || /\bc-(command|cpu|memory)\b/.test(cell.className)) return [];
      const fact = document.createElement("div");
      const term = document.createElement("dt");
      const value = document.createElement("dd");
      term.textContent = titles[i].textContent;
      value.textContent = text;
      const more = cell.querySelector("[title]")?.title;
      if (more && more !== text) value.append(` (${more})`);
      fact.append(term, value);
      return [fact];
    });
  }
}
