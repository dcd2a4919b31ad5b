// The keys of the page, and the dialog that lists them.
import { keep, recall } from "./store.js";

export function bindKeys(actions) {
  const help = document.getElementById("help");
  const letters = document.getElementById("letters");
  const table = document.getElementById("processes");
  letters.checked = recall("letters") !== "off";
  letters.addEventListener("change", () => keep("letters", letters.checked ? null : "off"));
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  help.addEventListener("click", (event) => {
    if (event.target === help) help.close(); // beside it
  });

  const all = { ...actions, "?": () => help.showModal() };
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || help.open) return;
    if (target.closest("input")) return; // it has its own
    const inTable = table.contains(target);
    if (key === "Enter" || key === " ") {
      if (!inTable || target.closest("a")) return; // links and buttons have them, too
    } else if (/^(Arrow|Home$|End$|Page)/.test(key)) {
      // Beside the table these are the browser's, but from nowhere they lead in.
      if (!inTable && target !== document.body) return;
    } else if (!letters.checked && !inTable && key !== "Escape") {
      return;
    }
    const action = all[key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
