package browser

import (
	_ "embed" // the script
)

//go:embed legible.js
var legible string

// Illegible returns visible text with a lower contrast to its background than WCAG 2.2 requires
// (success criterion 1.4.3): "3.10 span.dim: text".
func (b *Tab) Illegible() []string {
	b.t.Helper()
	return Value[[]string](b, legible)
}

// Overflow returns the number of pixels by which the page is wider than the window. Scrollable
// boxes do not count.
func (b *Tab) Overflow() int {
	b.t.Helper()
	return Value[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
}
