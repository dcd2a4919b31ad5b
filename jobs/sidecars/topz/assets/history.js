// The history of CPU and memory, kept by this page alone and bounded: the last
// `length` samples, of at most `mostKeys` rows. Draws it as lines.

const length = 60;
const mostKeys = 4000;
const svg = "http://www.w3.org/2000/svg";

export class History {
  #series = new Map(); // key → [{at, cpu, memory}], the oldest first
  #window; // milliseconds
  #newest = 0;

  constructor(interval) {
    this.#window = length * interval;
  }

  // Takes the numbers of all elements with a data-cpu, as of a time. Those of
  // a sample that is here already are not counted twice.
  record(elements, at) {
    if (at > this.#newest) this.#newest = at;
    for (const { dataset } of elements) {
      const points = this.#series.get(dataset.key) ?? [];
      if (points.at(-1)?.at >= at) continue;
      points.push({ at, cpu: Number(dataset.cpu), memory: Number(dataset.memory) });
      this.#series.set(dataset.key, points);
    }
    this.#forget();
  }

  #forget() {
    const oldest = this.#newest - this.#window;
    for (const [key, points] of this.#series) {
      while (points.length > length || points[0]?.at < oldest) points.shift();
      if (points.length === 0) this.#series.delete(key);
    }
    for (const key of this.#series.keys()) {
      if (this.#series.size <= mostKeys) break;
      this.#series.delete(key);
    }
  }

  // How much is kept, for tests: rows, and samples of the longest.
  get size() {
    return [this.#series.size, Math.max(0, ...[...this.#series.values()].map((p) => p.length))];
  }

  // Draws the lines inside of elements with a data-cpu. The CPU of rows has
  // one scale, so that they compare; memory has each its own, so that growth
  // is seen.
  draw(elements) {
    const rows = [...elements];
    let most = 10;
    for (const row of rows) for (const { cpu } of this.#points(row.dataset.key)) most = Math.max(most, cpu);
    for (const element of rows) this.line(element, element.dataset.key, most);
  }

  // Draws the lines inside of one element, from the history of a key.
  line(element, key, mostCPU) {
    const points = this.#points(key);
    const most = {
      cpu: mostCPU ?? Math.max(10, ...points.map((p) => p.cpu)),
      memory: 1.25 * Math.max(1, ...points.map((p) => p.memory)), // room above: full is not the point
    };
    for (const chart of element.querySelectorAll("svg[data-of]")) {
      this.#plot(chart, points, chart.dataset.of, most[chart.dataset.of]);
    }
  }

  range(key, of) {
    const values = this.#points(key).map((p) => p[of]);
    return [Math.min(...values), Math.max(...values)];
  }

  #points(key) {
    return this.#series.get(key) ?? [];
  }

  #plot(chart, points, of, most) {
    if (points.length === 0) return;
    const at = points.map((p) => [
      (100 - ((this.#newest - p.at) / this.#window) * 100).toFixed(2),
      (19 - (p[of] / most) * 17).toFixed(2),
    ]);
    if (at.length === 1) at.unshift([(at[0][0] - 1.5).toFixed(2), at[0][1]]);
    const line = at.map((p) => p.join(" ")).join("L");
    set(chart, "area", `M${at[0][0]} 20L${line}L${at.at(-1)[0]} 20Z`);
    set(chart, "line", "M" + line);
  }
}

function set(chart, part, path) {
  let element = chart.querySelector("." + part);
  if (!element) {
    element = document.createElementNS(svg, "path");
    element.setAttribute("class", part);
    element.setAttribute("vector-effect", "non-scaling-stroke");
    chart.append(element);
  }
  element.setAttribute("d", path);
}
