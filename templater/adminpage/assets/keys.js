// The keys of the page, and the dialog that lists them.
import { keep, recall } from "./store.js";

export function bindKeys(actions) {
  const help = document.getElementById("help");
  const letters = document.getElementById("letters");
  letters.checked = recall("letters") !== "off";
  letters.addEventListener("change", () => keep("letters", letters.checked ? null : "off"));
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  help.addEventListener("click", (event) => {
    if (event.target === help) help.close(); // beside it
  });

  const known = { ...actions, "?": () => help.showModal() };
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || help.open) return;
    if (target.closest("input")) return; // it has its own
    if (key.startsWith("Arrow") && !target.closest("tr") && target !== document.body) return; // it scrolls
    if (key.length === 1 && !letters.checked) return;
    if (!Object.hasOwn(known, key)) return;
    event.preventDefault();
    known[key]();
  });
}
