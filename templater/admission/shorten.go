package admission

import (
	"strings"
	"unicode/utf8"

	"github.com/nomad-sidecar/nomad-sidecar/templater/display"
)

const (
	maxTextBytes = 256
	maxItems     = 512
)

// Shortened returns a decision with truncated texts and lists and without terminal control
// characters. Slices are copies.
func (d Decision) Shortened(bytes, items int) Decision {
	short := func(text string) string { return Shorten(text, bytes) }
	for _, text := range []*string{&d.Client, &d.Accessor, &d.Method, &d.Path, &d.Job, &d.Namespace, &d.Region} {
		*text = short(*text)
	}
	d.Defaults = few(d.Defaults, items, short)
	d.Rules, d.Warned, d.Reasons = few(d.Rules, items, short), few(d.Warned, items, short), few(d.Reasons, items, short)
	d.Sidecars = few(d.Sidecars, items, func(i Injected) Injected {
		return Injected{Group: short(i.Group), Sidecar: short(i.Sidecar), Version: short(i.Version), Origin: i.Origin}
	})
	return d
}

func few[T any](all []T, items int, each func(T) T) []T {
	if all == nil {
		return nil
	}
	out := make([]T, 0, min(len(all), items))
	for _, one := range all[:min(len(all), items)] {
		out = append(out, each(one))
	}
	return out
}

// Shorten returns a text truncated to a number of bytes, without terminal control characters. The
// result is a clone, so the original can be garbage collected.
func Shorten(text string, bytes int) string {
	return strings.Clone(cut(display.Line(cut(text, bytes)), bytes))
}

func cut(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	end := bytes - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
