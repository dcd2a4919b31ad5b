"use strict";
(() => {
  const query = document.getElementById("_query");
  const status = document.getElementById("_status");
  const results = document.getElementById("_results");
  const summary = results.querySelector(".lead");
  const list = results.querySelector("ol");

  const text = (e) => (e ? e.textContent : "").toLowerCase();
  const index = [...document.querySelectorAll("section.sidecar")].map((section) => ({
    id: section.id,
    title: section.querySelector("h1").textContent,
    name: section.dataset.name,
    lead: section.querySelector(".lead")?.textContent ?? "",
    text: text(section),
    places: [...section.querySelectorAll("tr[id], .part")].map((e) => ({
      e, text: text(e), label: e.querySelector("th code")?.textContent ?? "",
    })),
  }));

  const node = (tag, attributes, ...children) => {
    const e = Object.assign(document.createElement(tag), attributes);
    e.append(...children);
    return e;
  };
  const link = (id, label) => node("a", { href: "#" + id }, label);

  // rank is lower for a better match, and negative for none.
  const rank = (entry, words, phrase) => {
    const all = (s) => words.every((w) => s.includes(w));
    if (entry.name === phrase) return 0;
    if (entry.name.startsWith(phrase)) return 1;
    if (all(entry.name)) return 2;
    if (all(entry.name + " " + entry.lead.toLowerCase())) return 3;
    return all(entry.text) ? 4 : -1;
  };

  // places are the parameters, and the parts without such a parameter, with all words.
  const places = (entry, words) => {
    const found = entry.places.filter((p) => words.every((w) => p.text.includes(w)));
    const rows = found.filter((p) => p.e.matches("tr"));
    const parts = found.filter((p) => !p.e.matches("tr") && !rows.some((r) => p.e.contains(r.e)));
    return [...rows, ...parts].slice(0, 5).map((p) => p.e.matches("tr")
      ? link(p.e.id, node("code", {}, p.label))
      : link(p.e.id, p.e.querySelector("h2").firstChild.textContent.trim()));
  };

  const search = () => {
    const phrase = query.value.trim().toLowerCase();
    const words = phrase.split(/\s+/).filter(Boolean);
    document.body.classList.toggle("searching", words.length > 0);
    list.replaceChildren();
    summary.textContent = status.textContent = "";
    if (words.length === 0) return;
    const found = index.map((entry) => ({ entry, rank: rank(entry, words, phrase) }))
      .filter((f) => f.rank >= 0).sort((a, b) => a.rank - b.rank);
    for (const { entry } of found) {
      const item = node("li", {}, node("h2", {}, link(entry.id, entry.title)), node("p", {}, entry.lead));
      const where = places(entry, words);
      if (where.length > 0) item.append(node("p", { className: "parts" }, ...where));
      list.append(item);
    }
    summary.textContent = status.textContent = found.length > 0
      ? `${found.length} of ${index.length} definitions match.`
      : `No definition matches “${query.value.trim()}”. Try fewer or shorter words.`;
    scrollTo(0, 0);
  };
  const clear = () => {
    query.value = "";
    search();
  };

  const arrive = () => {
    if (query.value) clear();
    const section = document.querySelector(":target")?.closest("main > section");
    const title = section && !section.matches(".home") ? section.querySelector("h1").textContent.trim() + " – " : "";
    document.title = title + "Sidecar catalog";
    for (const a of document.querySelectorAll("a[aria-current]")) a.removeAttribute("aria-current");
    for (const a of document.querySelectorAll(":is(.side, .bar) a")) {
      if (section && a.hash === "#" + section.id) a.setAttribute("aria-current", "page");
    }
  };

  const copy = async (pre) => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      return true;
    } catch { // there is no clipboard without TLS
      const area = node("textarea", { value: pre.textContent, readOnly: true });
      const focused = document.activeElement;
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      focused?.focus();
      return copied;
    }
  };
  for (const block of document.querySelectorAll(".code:not(.plain)")) {
    const button = node("button", { type: "button", className: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      const done = await copy(block.querySelector("pre"));
      button.textContent = status.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => { button.textContent = "Copy"; status.textContent = ""; }, 2000);
    });
    block.append(button);
  }

  query.addEventListener("input", search);
  query.addEventListener("keydown", (event) => {
    if (event.key === "Escape") clear();
    if (event.key === "Enter") list.querySelector("a")?.click();
  });
  list.addEventListener("click", (event) => {
    if (event.target.closest("a") && !event.ctrlKey && !event.metaKey && !event.shiftKey) clear();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target === query) return;
    event.preventDefault();
    query.focus();
  });
  addEventListener("hashchange", arrive);
  query.parentElement.hidden = false;
  arrive();
})();
