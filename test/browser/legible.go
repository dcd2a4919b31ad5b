package browser

import (
	_ "embed" // the script
)

//go:embed legible.js
var legible string

// Illegible is what of the visible text has less contrast with what is behind
// it than WCAG 2.2 asks for (success criterion 1.4.3): "3.10 span.dim: text".
func (b *Tab) Illegible() []string {
	b.t.Helper()
	return Value[[]string](b, legible)
}

// Overflow is how many pixels the page is wider than the window. Boxes that
// scroll by themselves do not count.
func (b *Tab) Overflow() int {
	b.t.Helper()
	return Value[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
}
