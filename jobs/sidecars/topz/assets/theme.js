"use strict";
// Runs before the page is drawn, so that colours which were chosen do not
// come after those of the system.
try {
  const chosen = localStorage.getItem("topz-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing goes on as the system does.
}
